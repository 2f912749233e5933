"""The warehouse: the role's rights, the migrations, and what others added to the star tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

import psycopg
from psycopg import sql

from doctor.checks.server import checks_of, put_secret
from doctor.finding import CannotLook, Check, Finding, fault, judged, ok
from doctor.place import Place
from lambdas.load.catalog import loaded_columns, lost_references, read_star_tables
from lambdas.load.inheriting import with_rows
from lambdas.load.migrations import migrations
from pipeline import warehouse_schema
from pipeline.database import Role
from pipeline.errors import InvalidSettings

REPORTING = "totesys_reporting"
_REPORTED = ("pipeline_run", "load_position", "warehouse_freshness")
_CONTROL = ("schema_migration", "waiting_row", *_REPORTED)

_DATABASE_RIGHTS: LiteralString = """
select privilege
from pg_catalog.unnest(array['connect', 'create', 'temporary']) as privilege
where not pg_catalog.has_database_privilege(current_database(), privilege)
"""
_SCHEMA_RIGHTS: LiteralString = """
select privilege
from pg_catalog.unnest(array['usage', 'create']) as privilege
where not pg_catalog.has_schema_privilege(current_schema(), privilege)
"""
_OTHERS_TABLES: LiteralString = """
select relname::text, relkind = 'v', pg_catalog.pg_get_userbyid(relowner)::text
from pg_class
where relnamespace = pg_catalog.quote_ident(current_schema())::regnamespace
    and (relname = any (%s) or relkind = 'v' and relname like 'current\\_%%')
    and relkind in ('r', 'p', 'v')
    and not pg_catalog.pg_has_role(relowner, 'usage')
order by relname
"""
_OWN_COLUMNS: LiteralString = """
select relname::text, pg_catalog.array_agg(attname::text order by attnum)
from pg_attribute
join pg_class on pg_class.oid = attrelid
where relnamespace = pg_catalog.quote_ident(current_schema())::regnamespace
    and relname = any (%s)
    and attnum > 0
    and not attisdropped
    and attnotnull
    and not atthasdef
    and attidentity = ''
group by relname
order by relname
"""
_LOCKS: LiteralString = """
select relname::text, pid, coalesce(usename::text, '')
from pg_locks
join pg_class on pg_class.oid = relation
join pg_stat_activity using (pid)
where pg_locks.database = (select oid from pg_database where datname = current_database())
    and relnamespace = pg_catalog.quote_ident(current_schema())::regnamespace
    and relname = any (%s)
    and granted
    and mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    and application_name <> 'totesys-pipeline'
    and coalesce(xact_start < clock_timestamp() - %s::interval, true)
order by relname
"""
_UNREADABLE: LiteralString = """
select relname::text
from pg_class
where relnamespace = pg_catalog.quote_ident(current_schema())::regnamespace
    and (relname = any (%(tables)s) or relkind = 'v' and relname like 'current\\_%%')
    and relkind in ('r', 'p', 'v')
    and not pg_catalog.has_table_privilege(%(role)s, oid, 'select')
order by relname
"""
_WAITING: LiteralString = """
select table_name, reason ->> 'rule', count(*)
from waiting_row
cross join lateral pg_catalog.jsonb_array_elements(reasons) as reason
group by 1, 2
order by 1, 2
"""
LONG_LOCK = "1 minute"


@contextmanager
def installed(place: Place) -> Iterator[psycopg.Connection]:
    """Connects to the warehouse, in the schema where it is installed.

    Raises:
        CannotLook: It cannot be reached, or nothing was ever loaded.
    """
    with place.connection(Role.WAREHOUSE) as connection:
        try:
            warehouse_schema.enter(connection.cursor())
        except InvalidSettings as error:
            raise CannotLook("the warehouse has no schema: see warehouse.schema") from error
        if connection.execute(
            "select pg_catalog.to_regclass('schema_migration') is null"
        ).fetchone() == (True,):
            raise CannotLook("nothing was ever loaded into the warehouse", run_once(place))
        yield connection


def run_once(place: Place) -> str:
    """Returns the command that starts an execution."""
    if place.is_local:
        return "make execute"
    arn = place.output("StateMachineArn")
    return f"aws stepfunctions start-execution --state-machine-arn {arn} --input '{{}}'"


def run_with(place: Place, document: str) -> str:
    """Returns the command that starts an execution with an input."""
    if place.is_local:
        return f"make execute INPUT='{document}'"
    return run_once(place).replace("'{}'", f"'{document}'")


def _user(connection: psycopg.Connection) -> str:
    return sql.Identifier(connection.info.user).as_string()


def _schema_name(connection: psycopg.Connection) -> str:
    row = connection.execute("select current_schema()").fetchone()
    return sql.Identifier(row[0] if row else "public").as_string()


def _primary(place: Place) -> Finding:
    with place.connection(Role.WAREHOUSE) as connection:
        is_standby = connection.execute("select pg_is_in_recovery()").fetchone() == (True,)
    if is_standby:
        return fault(
            "the warehouse's server is a standby, which cannot be written to",
            f"{put_secret(place, Role.WAREHOUSE)}   # with the primary server's address",
        )
    return ok("the server is a primary")


def _schema(place: Place) -> Finding:
    with place.connection(Role.WAREHOUSE) as connection:
        try:
            warehouse_schema.enter(connection.cursor())
        except InvalidSettings as error:
            return fault(str(error), f"alter role {_user(connection)} set search_path = public;")
        return ok(f"the warehouse's schema is {_schema_name(connection)}")


def _database_rights(place: Place) -> Finding:
    with place.connection(Role.WAREHOUSE) as connection:
        missing = [name for (name,) in connection.execute(_DATABASE_RIGHTS)]
        database = sql.Identifier(connection.info.dbname).as_string()
        user = _user(connection)
    if missing:
        rights = ", ".join(missing)
        return fault(
            f"{user} lacks {rights} on the database {database}",
            f"grant {rights} on database {database} to {user};",
        )
    return ok("the role may connect, and make schemas and temporary tables")


def _schema_rights(place: Place) -> Finding:
    with place.connection(Role.WAREHOUSE) as connection:
        try:
            warehouse_schema.enter(connection.cursor())
        except InvalidSettings as error:
            raise CannotLook("the warehouse has no schema: see warehouse.schema") from error
        missing = [name for (name,) in connection.execute(_SCHEMA_RIGHTS)]
        schema, user = _schema_name(connection), _user(connection)
    if missing:
        rights = ", ".join(missing)
        return fault(
            f"{user} lacks {rights} on the schema {schema}",
            f"grant {rights} on schema {schema} to {user};",
        )
    return ok(f"the role may use {schema}, and make tables in it")


def _ownership(place: Place) -> Finding:
    names = [*(star.name for star in place.stars), *_CONTROL]
    with installed(place) as connection:
        schema, user = _schema_name(connection), _user(connection)
        problems = {
            f"{name} belongs to {owner}, so {user} can neither load nor migrate it": (
                f"alter {'view' if is_view else 'table'} {schema}."
                f"{sql.Identifier(name).as_string()} owner to {user};"
            )
            for name, is_view, owner in connection.execute(_OTHERS_TABLES, [names]).fetchall()
        }
    return judged(problems, "the role owns the warehouse's tables")


def _migrations(place: Place) -> Finding:
    with installed(place) as connection:
        applied: dict[str, str] = dict(
            connection.execute("select name, checksum from schema_migration").fetchall()
        )
    ours = {step.name: step.checksum for step in migrations()}
    problems: dict[str, str] = {}
    for name, checksum in ours.items():
        if name not in applied:
            problems[f"{name} is not applied"] = run_once(place)
        elif applied[name] != checksum:
            problems[f"{name} was changed after it had been applied"] = (
                f"git checkout -- lambdas/load/migrations/{name}   # and a new migration"
            )
    for name in applied.keys() - ours.keys():
        problems[f"{name} is applied, and this clone does not have it"] = (
            f"git pull && {place.deploy}"
        )
    return judged(problems, f"{len(ours)} migrations are applied")


def _tables(place: Place) -> Finding:
    with installed(place) as connection:
        tables = read_star_tables(connection, place.stars)
    stars = {star.name: star for star in place.stars}
    held = {table.name: {column.name for column in table.columns} for table in tables}
    problems = {
        f"{table.name}.{column.name} has lost its foreign key": (
            f"alter table {table.name} add foreign key ({column.name}) "
            f"references {column.references};"
        )
        for table in tables
        for column in lost_references(table, stars)
    }
    for star in place.stars:
        missing = sorted(loaded_columns(star) - held.get(star.name, frozenset()))
        if star.name not in held:
            problems[f"the warehouse has no table {star.name}"] = (
                f"create table {star.name} …   -- as lambdas/load/migrations/ has it; then "
                + run_with(place, '{"rebuild": true}')
            )
        elif missing:
            problems[f"{star.name} has no {', '.join(missing)} in the warehouse"] = (
                f"alter table {star.name} add column {missing[0]} …   "
                "-- as lambdas/load/migrations/ has it; then "
                + run_with(place, '{"rebuild": true}')
            )
    return judged(problems, f"{len(place.stars)} star tables with their columns and foreign keys")


def _own_columns(place: Place) -> Finding:
    declared = {star.name: loaded_columns(star) for star in place.stars}
    with installed(place) as connection:
        found = connection.execute(_OWN_COLUMNS, [list(declared)]).fetchall()
    problems = {
        f"{table}.{column} is not null, has no default, and is not loaded": (
            f"alter table {table} alter column {sql.Identifier(column).as_string()} drop not null;"
        )
        for table, columns in found
        for column in columns
        if column not in declared[table]
    }
    return judged(problems, "no column of others stops a load")


def _inheriting(place: Place) -> Finding:
    with installed(place) as connection:
        found = list(with_rows(connection, [star.name for star in place.stars]))
    problems = {
        f"{heir} inherits from {table}, so that who reads {table} gets its rows too": f"{end};"
        for table, heir, end in found
    }
    return judged(problems, "no table of others adds rows to a star table")


def _locks(place: Place) -> Finding:
    names = [star.name for star in place.stars]
    with installed(place) as connection:
        found = connection.execute(_LOCKS, [names, LONG_LOCK]).fetchall()
    return judged(
        {
            f"session {pid} of {user} has locked {table} for a minute or longer": (
                f"select pg_terminate_backend({pid});"
            )
            for table, pid, user in found
        },
        "nobody else locks the star tables",
    )


def _reporting(place: Place) -> Finding:
    with installed(place) as connection:
        known = connection.execute("select from pg_roles where rolname = %s", [REPORTING])
        if known.fetchone() is None:
            return fault(
                f"there is no role {REPORTING}, so nobody can be granted the star schema",
                f"create role {REPORTING} nologin;",
                *_grants(connection, [*(star.name for star in place.stars), *_REPORTED]),
            )
        schema = _schema_name(connection)
        problems: dict[str, str] = {}
        usage = connection.execute(
            "select pg_catalog.has_schema_privilege(%s, current_schema(), 'usage')", [REPORTING]
        )
        if usage.fetchone() != (True,):
            problems[f"{REPORTING} may not use the schema {schema}"] = (
                f"grant usage on schema {schema} to {REPORTING};"
            )
        names = [*(star.name for star in place.stars), *_REPORTED]
        unreadable = connection.execute(_UNREADABLE, {"role": REPORTING, "tables": names})
        for (name,) in unreadable:
            problems[f"{REPORTING} may not read {name}"] = (
                f"grant select on {schema}.{sql.Identifier(name).as_string()} to {REPORTING};"
            )
    return judged(problems, f"{REPORTING} reads the star schema")


def _grants(connection: psycopg.Connection, names: list[str]) -> tuple[str, str]:
    schema = _schema_name(connection)
    tables = ", ".join(f"{schema}.{name}" for name in names)
    return (
        f"grant usage on schema {schema} to {REPORTING};",
        f"grant select on {tables} to {REPORTING};",
    )


def _waiting(place: Place) -> Finding:
    with installed(place) as connection:
        found = connection.execute(_WAITING).fetchall()
    if found:
        what = ", ".join(f"{rows} of {table} ({rule})" for table, rule, rows in found)
        return fault(
            f"rows wait in waiting_row: {what}",
            "select table_name, key, reasons from waiting_row;   -- correct them at the source",
            run_once(place),
        )
    return ok("no row waits")


CHECKS = (
    *checks_of(Role.WAREHOUSE),
    Check("warehouse.primary", "whether the warehouse's server can be written to", _primary),
    Check("warehouse.schema", "the schema that has the warehouse", _schema),
    Check(
        "warehouse.database_rights",
        "CONNECT, CREATE and TEMPORARY on the database",
        _database_rights,
    ),
    Check("warehouse.schema_rights", "USAGE and CREATE on the schema", _schema_rights),
    Check("warehouse.ownership", "the owners of the warehouse's tables and views", _ownership),
    Check(
        "warehouse.migrations", "the applied migrations, beside those of this clone", _migrations
    ),
    Check("warehouse.tables", "the star tables, their columns and foreign keys", _tables),
    Check("warehouse.own_columns", "columns that others added to star tables", _own_columns),
    Check("warehouse.inheriting", "tables that inherit from star tables", _inheriting),
    Check("warehouse.locks", "locks of others on star tables", _locks),
    Check("warehouse.reporting", f"the role {REPORTING} and its rights", _reporting),
    Check("warehouse.waiting", "rows in waiting_row", _waiting),
)
