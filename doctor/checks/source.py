"""The source: the role's rights, what the star tables need, and what makes captures slow."""

from collections.abc import Iterable, Iterator
from typing import LiteralString

import psycopg
import sqlglot
from psycopg import sql
from sqlglot import exp
from sqlglot.optimizer.scope import traverse_scope

from doctor.checks.server import checks_of, put_secret
from doctor.finding import Check, Finding, fault, judged, not_applicable, ok
from doctor.place import Place
from lambdas.ingest import discovery, natural_keys, session
from lambdas.ingest.failures import TableFailure
from lambdas.ingest.open_transactions import long_transaction
from lambdas.ingest.scope import Scope
from pipeline.database import Role
from pipeline.errors import InvalidSettings
from pipeline.manifest import ManifestStore
from star_schema.sources import declared_source
from star_schema.tables import StarTable

_FUNCTIONS = ("pg_control_system()", "pg_control_checkpoint()", "pg_export_snapshot()")
"""What Ingest calls and an administrator may have revoked from the public."""

_USAGE: LiteralString = """
select nspname::text
from pg_namespace
where nspname = any (%s) and not pg_catalog.has_schema_privilege(oid, 'usage')
"""
_REFUSED_COLUMNS: LiteralString = """
select attname::text
from pg_attribute
where attrelid = %s
    and attname = any (%s)
    and not pg_catalog.has_column_privilege(attrelid, attnum, 'select')
"""
_POLICIES: LiteralString = """
select relname::text
from pg_class
where oid = any (%s::bigint[]::oid[]) and pg_catalog.row_security_active(oid)
"""
_NOT_COUNTING: LiteralString = """
select
    case
        when setrole = 0 then pg_catalog.format('alter database %I reset track_counts;', datname)
        when setdatabase = 0 then pg_catalog.format('alter role %I reset track_counts;', rolname)
        else pg_catalog.format('alter role %I in database %I reset track_counts;', rolname, datname)
    end
from pg_db_role_setting
left join pg_roles on pg_roles.oid = setrole
left join pg_database on pg_database.oid = setdatabase
cross join pg_catalog.unnest(setconfig) as setting
where pg_catalog.split_part(setting, '=', 1) = 'track_counts'
    and not pg_catalog.split_part(setting, '=', 2)::boolean
"""
_SLOTS: LiteralString = """
select
    slot_name::text,
    pg_catalog.pg_size_pretty(pg_catalog.pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))
from pg_replication_slots
where not active and (restart_lsn is not null or xmin is not null or catalog_xmin is not null)
"""
_STANDBY: LiteralString = """
select
    pg_catalog.current_setting('hot_standby_feedback')::boolean,
    (select setting::bigint from pg_settings where name = 'max_standby_streaming_delay')
"""
_SHARED_KEYS: LiteralString = (
    "select {key}, count(*) from {table} group by {key} having count(*) > 1 or {key} is null;"
    "   -- correct these rows"
)
_LONGEST_READ_MILLISECONDS = 600_000
"""The statement_timeout of Ingest's sessions."""


def _scope(place: Place) -> Scope:
    settings = place.ingest
    return Scope.of(settings.schemas, settings.tables_left_out, settings.columns_left_out)


def _tables(place: Place, connection: psycopg.Connection) -> tuple[discovery.SourceTable, ...]:
    return discovery.read_tables(connection, _scope(place))


def _role(connection: psycopg.Connection) -> str:
    return sql.Identifier(connection.info.user).as_string()


def _name(table: discovery.SourceTable) -> str:
    return table.identifier.as_string()


def _usage(place: Place) -> Finding:
    with place.connection(Role.SOURCE) as connection:
        known = {name for (name,) in connection.execute("select nspname from pg_namespace")}
        try:
            _scope(place).refuse_unknown(known)
        except InvalidSettings as error:
            return fault(str(error), place.deploy_with("SourceSchemas=…"))
        refused = connection.execute(_USAGE, [list(place.ingest.schemas)]).fetchall()
        problems = {
            f"{connection.info.user} may not use the schema {name}": (
                f"grant usage on schema {sql.Identifier(name).as_string()} to {_role(connection)};"
            )
            for (name,) in refused
        }
    return judged(problems, f"the schemas {', '.join(place.ingest.schemas)} may be used")


def _functions(place: Place) -> Finding:
    with place.connection(Role.SOURCE) as connection:
        problems = {
            f"{connection.info.user} may not call {name}": (
                f"grant execute on function {name} to {_role(connection)};"
            )
            for name in _FUNCTIONS
            if connection.execute(
                "select pg_catalog.has_function_privilege(%s, 'execute')", [f"pg_catalog.{name}"]
            ).fetchone()
            != (True,)
        }
    return judged(problems, "the server's identity and snapshots may be read")


def _select(place: Place) -> Finding:
    problems: dict[str, str] = {}
    with place.connection(Role.SOURCE) as connection:
        tables = _tables(place, connection)
        for table in tables:
            names = [column.name for column in table.columns]
            refused = connection.execute(_REFUSED_COLUMNS, [table.oid, names]).fetchall()
            if refused:
                problems[f"{connection.info.user} may not read {table.name}"] = (
                    f"grant select on {_name(table)} to {_role(connection)};"
                )
    return judged(problems, f"{len(tables)} tables may be read")


def _row_security(place: Place) -> Finding:
    with place.connection(Role.SOURCE) as connection:
        oids = [table.oid for table in _tables(place, connection)]
        hidden = [name for (name,) in connection.execute(_POLICIES, [oids])]
        role = _role(connection)
    if hidden:
        return fault(
            f"row-level security may hide rows of {', '.join(hidden)}, which are not captured",
            f"alter role {role} bypassrls;",
        )
    return ok("no policy hides rows")


def _needed_tables(place: Place) -> Finding:
    with place.connection(Role.SOURCE) as connection:
        names = {table.name for table in _tables(place, connection)}
    problems = {
        f"the source has no table {source}, which {', '.join(stars)} need": (
            f"alter table … rename to {source};   -- or change the SELECT of "
            + ", ".join(f"star_schema/definitions/tables/{star}.sql" for star in stars)
        )
        for source, stars in _needs(place.stars).items()
        if source not in names
    }
    return judged(
        problems, f"the {len(_needs(place.stars))} tables that star tables need are there"
    )


def _needs(stars: Iterable[StarTable]) -> dict[str, list[str]]:
    """Returns the star tables that need each source table."""
    found: dict[str, list[str]] = {}
    for star in stars:
        for source in star.sources:
            found.setdefault(source, []).append(star.name)
    return found


def _needed_columns(place: Place) -> Finding:
    with place.connection(Role.SOURCE) as connection:
        tables = {table.name: table for table in _tables(place, connection)}
    problems: dict[str, str] = {}
    for star in place.stars:
        for source, column in sorted(columns_read(star)):
            table = tables.get(source)
            if table and column not in {one.name for one in table.columns}:
                problems[f"{source} has no column {column}, which {star.name} needs"] = (
                    f"alter table {_name(table)} rename column … to {column};   "
                    f"-- or change star_schema/definitions/tables/{star.name}.sql"
                )
    return judged(problems, "the columns that star tables need are there")


def columns_read(star: StarTable) -> set[tuple[str, str]]:
    """Returns the source tables and columns that a star table's SELECT and rules read."""
    found: set[tuple[str, str]] = set()
    for scope in traverse_scope(sqlglot.parse_one(star.select, read="spark")):
        tables = {
            alias: table.name
            for alias, table in scope.sources.items()
            if isinstance(table, exp.Table)
        }
        alone = next(iter(tables)) if len(scope.sources) == 1 == len(tables) else ""
        for column in scope.columns:
            found.add((tables.get(column.table or alone, ""), column.name))
    for source in star.sources:
        declaration = declared_source(source)
        found.add((source, declaration.natural_key))
        for rule in declaration.rules.every:
            condition = sqlglot.parse_one(rule.condition, read="spark")
            found |= {(source, column.name) for column in condition.find_all(exp.Column)}
    return {(table, column) for table, column in found if table in star.sources} - {
        (source, "_sequence") for source in star.sources
    }


def _natural_keys(place: Place) -> Finding:
    needed = _needs(place.stars)
    problems: dict[str, str] = {}
    with place.connection(Role.SOURCE) as connection:
        for table in _tables(place, connection):
            key = natural_keys.declared_key(table)
            if table.name not in needed or key is None:
                continue
            if natural_keys.is_guaranteed(connection, table):
                continue
            column = sql.Identifier(key).as_string()
            try:
                natural_keys.refuse_ambiguous_key(connection, table)
            except TableFailure as error:
                query = sql.SQL(_SHARED_KEYS).format(
                    key=sql.Identifier(key), table=table.identifier
                )
                problems[f"{table.name}: {error.reason}"] = query.as_string()
                continue
            fix = "unique" if table.primary_key else "primary key"
            problems[
                f"no constraint guarantees that {key} identifies a row of {table.name}, so each "
                "run searches all of its rows"
            ] = f"alter table {_name(table)} add {fix} ({column});"
    return judged(problems, "each declared natural key is guaranteed by a constraint")


def _counters(place: Place) -> Finding:
    """Looks at the settings of every role and database, as Ingest does: any of them may write."""
    with place.connection(Role.SOURCE) as connection:
        fixes = [fix for (fix,) in connection.execute(_NOT_COUNTING)]
        counts = connection.execute(
            "select pg_catalog.current_setting('track_counts')::boolean"
        ).fetchone()
    if counts != (True,) and not fixes:
        fixes = ["alter system set track_counts = on; select pg_reload_conf();"]
    if fixes:
        return fault("track_counts is off, so each run reads every table", *fixes)
    return ok("the server counts changes")


def _statistics(place: Place) -> Finding:
    with place.connection(Role.SOURCE) as connection:
        row = connection.execute(
            "select pg_catalog.pg_has_role('pg_read_all_stats', 'usage')"
        ).fetchone()
        role = _role(connection)
    if row != (True,):
        return fault(
            "the role does not see since when others' transactions are open",
            f"grant pg_read_all_stats to {role};",
        )
    return ok("others' transactions are visible")


def _hidden_rows(place: Place) -> Finding:
    with place.connection(Role.SOURCE) as connection:
        role, database = _role(connection), sql.Identifier(connection.info.dbname).as_string()
        owners = {
            "user": f"alter role {role} reset",
            "database": f"alter database {database} reset",
            "database user": f"alter role {role} in database {database} reset",
        }
        problems = {
            f"the source has {name} on: damaged rows look deleted": (
                f"{owners[where]} {name};"
                if where in owners
                else f"alter system reset {name}; select pg_reload_conf();"
            )
            for name, where in session.hiding(connection).items()
        }
    return judged(problems, "damaged rows are errors")


def _open_transaction(place: Place) -> Finding:
    newest = ManifestStore(place.ingest.raw_bucket, place.client("s3")).newest()
    with place.connection(Role.SOURCE) as connection:
        found = long_transaction(connection, discovery.read_snapshot(connection), newest)
    if found is None:
        return ok("no transaction has been open for an hour")
    return fault(
        f"{found.name} has been open since {found.began:%Y-%m-%d %H:%M} UTC or longer",
        f"{found.remedy};" if found.remedy else "select * from pg_stat_activity;",
    )


def _slots(place: Place) -> Finding:
    with place.connection(Role.SOURCE) as connection:
        if _is_standby(connection):
            return not_applicable("the source is a standby")
        found = connection.execute(_SLOTS).fetchall()
    return judged(
        {
            f"the replication slot {name} is used by nobody and keeps {size} of the log": (
                f"select pg_drop_replication_slot({sql.Literal(name).as_string()});"
            )
            for name, size in found
        },
        "no replication slot is abandoned",
    )


def _standby(place: Place) -> Finding:
    with place.connection(Role.SOURCE) as connection:
        if not _is_standby(connection):
            return ok("the source is a primary server")
        row = connection.execute(_STANDBY).fetchone()
    has_feedback, delay = row or (True, -1)
    if not has_feedback and 0 <= delay < _LONGEST_READ_MILLISECONDS:
        return fault(
            f"the source is a standby that cancels reads after {delay} ms",
            "alter system set hot_standby_feedback = on; select pg_reload_conf();",
        )
    return ok("the source is a standby that lets reads end; it has no counters")


def _is_standby(connection: psycopg.Connection) -> bool:
    return connection.execute("select pg_is_in_recovery()").fetchone() == (True,)


def _one_server(place: Place) -> Finding:
    found = set(_servers(place))
    if len(found) > 1:
        return fault(
            "the source's host leads to several servers, and a run has to read from one",
            f"{put_secret(place, Role.SOURCE)}   # with the address of one server",
        )
    return ok("every connection led to the same server")


def _servers(place: Place) -> Iterator[str]:
    for _ in range(3):
        with place.connection(Role.SOURCE) as connection:
            yield session.server_of(connection)


CHECKS = (
    *checks_of(Role.SOURCE),
    Check("source.one_server", "whether the source's address leads to one server", _one_server),
    Check("source.usage", "USAGE of the captured schemas", _usage),
    Check(
        "source.functions",
        "the server's functions that identify it and export snapshots",
        _functions,
    ),
    Check("source.tables", "the tables that star tables need", _needed_tables),
    Check("source.columns", "the columns that star tables and rules need", _needed_columns),
    Check("source.select", "SELECT on each captured table and column", _select),
    Check("source.row_security", "policies that would hide rows of captured tables", _row_security),
    Check(
        "source.natural_keys",
        "the declared natural keys, beside the constraints that there are",
        _natural_keys,
        seconds=60,
    ),
    Check("source.counters", "track_counts of server, databases and roles", _counters),
    Check("source.statistics", "the right to see others' transactions", _statistics),
    Check("source.hidden_rows", "zero_damaged_pages and ignore_checksum_failure", _hidden_rows),
    Check(
        "source.open_transaction",
        "transactions and prepared transactions that have been open for an hour",
        _open_transaction,
    ),
    Check("source.slots", "replication slots that nobody uses", _slots),
    Check("source.standby", "whether a standby cancels long reads", _standby),
)
