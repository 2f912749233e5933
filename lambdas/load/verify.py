"""Verification: source, star schema and warehouse have the same rows.

Each star table is compared twice, by fingerprints (pipeline/fingerprints.py) and at the warehouse's
server: the rows that the source gives with the current rows of the star schema, by natural key; and
all rows of the star schema with the rows of the warehouse, by primary key. The marks of superseded
versions, and the views of the current state and of what waits, are compared with the rows of the
warehouse.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg
from psycopg import sql

from lambdas.load.catalog import WarehouseColumn, WarehouseTable, read_star_tables
from lambdas.load.current_views import view_of_current, wrong_current_rows
from lambdas.load.deadline import Deadline
from lambdas.load.dependants import is_referred_to
from lambdas.load.inheriting import with_rows
from lambdas.load.lake import Lake
from lambdas.load.position import positions
from lambdas.load.source_fingerprints import SourceFingerprints
from lambdas.load.staging import Staging, TemporaryStaging, copy_rows
from lambdas.load.superseded import wrong_marks
from lambdas.load.waiting import wrong_rules
from pipeline.certificate import Digests
from pipeline.errors import VerificationFailed, WarehouseBusy, first_line
from pipeline.fingerprints import WAITS_IN_QUARANTINE, StarFingerprints, postgres_fingerprint
from star_schema.tables import star_tables

_LOCK_SECONDS = 60.0
"""How long to wait for a lock, although nothing that locks out readers should be running."""
_NAMED = 3
"""How many rows of a table that differ a message names."""
_OF_THE_STAR = frozenset({"is_deleted", "run_id"})
"""Columns that the build adds."""
_SOURCE = sql.Identifier("pg_temp", "source_fingerprints")

# The sum of a part of the fingerprints: the same for the same rows in any order.
_DIGEST: LiteralString = (
    "pg_catalog.sum(case when pg_catalog.length(fingerprint) = 32 "
    "then ('x' || pg_catalog.left(fingerprint, 16))::bit(64)::bigint end)"
)
_COMPARISON: LiteralString = """
with counted as (
    select
        key,
        pg_catalog.bool_or(waits) as waits,
        count(*) filter (where is_wanted) as wanted,
        count(*) filter (where not is_wanted) as found,
        pg_catalog.min(fingerprint collate "C")
            <> pg_catalog.max(fingerprint collate "C") as differs,
        {digest} filter (where is_wanted) as wanted_digest,
        {digest} filter (where not is_wanted) as found_digest
    from ({wanted} union all {found}) as rows (key, fingerprint, waits, is_wanted)
    group by key
),
judged as materialized (
    select
        key,
        waits,
        wanted,
        wanted_digest,
        found_digest,
        case
            when wanted > 1 or found > 1 then 'is doubled'
            when wanted = 0 and not {is_cumulative} then 'is extra'
            when found = 0 and not waits then 'is missing'
            when differs then 'differs'
        end as difference
    from counted
)
select
    count(*) filter (where difference is null and wanted = 1 and not waits),
    count(*) filter (where difference is null and waits),
    count(*) filter (where difference is not null),
    coalesce(
        pg_catalog.sum(wanted_digest) filter (where difference is null and wanted = 1), 0
    )::text,
    coalesce(
        pg_catalog.sum(found_digest) filter (where difference is null and wanted = 1), 0
    )::text,
    array(
        select pg_catalog.concat_ws(' ', {key}, key, difference)
        from judged
        where difference is not null
        order by judged.key
        limit {named}
    )
from judged
"""
# A source row that should be in the lake's quarantine, and is not, has a fingerprint of its own.
_SOURCE_ROWS: LiteralString = """
select
    key,
    case when waits_in is null or waits then fingerprint else 'waits nowhere' end,
    waits,
    true
from (
    select
        *,
        waits_in is not null and (
            waits_in <> {quarantine} or not {is_fact} or key::text = any ({malformed})
        ) as waits
    from {source}
) as source
"""
_CURRENT_FACTS: LiteralString = """
select distinct on ({natural_key}) *
from {stage}
order by {natural_key}, {key} desc
"""
# A dimension row that waits stands for the state before it, which the dimension still shows. A row
# that is marked as deleted, because another table refers to it, need not be in the lake.
_SHOWN: LiteralString = """
select held.*
from {held} as held
where {is_fact}
    or not (
        exists (
            select
            from waiting_row as waiting
            where waiting.table_name = {name} and waiting.key = held.{key}::text
        )
        or (
            held.is_deleted
            and {is_referred_to}
            and not exists (select from {stage} as stage where stage.{key} = held.{key})
        )
    )
"""
_WAITING: LiteralString = """
select row.*
from waiting_row as waiting
cross join lateral pg_catalog.jsonb_populate_record(null::{stage}, waiting.content) as row
where waiting.table_name = {name}
"""


@dataclass(frozen=True)
class VerifiedTable:
    """A star table of which source, star schema and warehouse have the same rows.

    Attributes:
        table: The star table.
        rows: Source rows that the star schema shows.
        versions: Rows of the star schema that the warehouse shows, history included.
        rows_quarantined: Source rows that wait in a quarantine of the raw zone or the lake.
        waiting: Rows of the star schema that wait in the warehouse's waiting_row.
        digests: The digests of the rows.
    """

    table: str
    rows: int
    versions: int
    rows_quarantined: int
    waiting: int
    digests: Digests | None = field(default=None, compare=False)


@dataclass(frozen=True)
class _Compared:
    """The outcome of a comparison: how many rows are equal, wait or differ; some are named."""

    equal: int
    waiting: int
    different: int
    wanted_digest: str
    found_digest: str
    named: tuple[str, ...]


def verify(
    connection: psycopg.Connection,
    lake: Lake,
    source: SourceFingerprints | None,
    *,
    sequence: int,
    seconds_left: Callable[[], float],
) -> tuple[VerifiedTable, ...]:
    """Compares source, star schema and warehouse.

    Each table is staged and compared in a transaction of its own. The server needs disk space for
    the largest table, and for one sort of it.

    Args:
        connection: The warehouse, in autocommit mode, loaded through the run.
        lake: The star schema.
        source: The source's fingerprints; None if the run is not one snapshot of the source.
        sequence: The run.
        seconds_left: How long the caller may still run.

    Raises:
        VerificationFailed: Rows differ, of which the first are named, or there is no proof.
        StarSchemaMismatch: A lake table does not fit its warehouse table.
        ObjectStoreUnavailable: The lake or the fingerprints could not be read.
    """
    if source is None:
        raise VerificationFailed(
            f"run {sequence} is loaded, but not verified: Ingest took more than one invocation, "
            "and so more than one snapshot, or had no time left for the source's fingerprints. "
            'Start the state machine again with {"verify": true}; if it ends like this once more, '
            "raise SourceReaders or the MemorySize of the Ingest function"
        )
    proof = _Proof(connection, lake, source, sequence, seconds_left)
    tables = read_star_tables(connection, star_tables())
    verified = tuple(proof.of(table) for table in tables)
    proof.check_waiting()
    known = {table.name for table in tables}
    proof.differences += [
        f"the warehouse has no {one.table}" for one in source.tables if one.table not in known
    ]
    if inherited := [
        f"{heir} inherits from {table}: run `{end}`"
        for table, heir, end in with_rows(connection, [table.name for table in tables])
    ]:
        raise VerificationFailed(
            "who reads the warehouse gets rows that the star schema does not have. "
            + "; ".join([*inherited, *proof.differences])
        )
    if proof.differences:
        raise VerificationFailed(
            "source, star schema and warehouse are not equal. "
            + "; ".join(proof.differences)
            + '. Start the state machine with {"rebuild": true}; if they still differ, with '
            '{"full_refresh": true, "rebuild": true}'
        )
    return verified


class _Proof:
    """The comparisons of one verification.

    Attributes:
        differences: The differences, in words.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        lake: Lake,
        source: SourceFingerprints,
        sequence: int,
        seconds_left: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._deadline = Deadline(connection, seconds_left, _LOCK_SECONDS)
        self._lake = lake.listed()
        self._source = source
        self._sequence = sequence
        self._positions = positions(connection)
        self._stars = frozenset(self._positions)
        self.differences: list[str] = []

    def of(self, table: WarehouseTable) -> VerifiedTable:
        """Compares a star table with the warehouse's table and with the source."""
        position = self._positions.get(table.name, 0)
        if position < self._sequence:
            self.differences.append(
                f"{table.name} is loaded through run {position} of {self._sequence} only"
            )
        with self._in_time(table), self._connection.transaction():
            self._deadline.limit()
            versions = self._lake.versions(table, after=0, through=position)
            staging = TemporaryStaging(self._connection, {table.name: versions})
            staging.prepare(table)
            held = self._compare_warehouse(table, staging)
            self._note("star/warehouse", table, held)
            if table.is_fact and not held.different:
                self._check_marks(table)
                self._check_view(
                    view_of_current(table),
                    table.name,
                    lambda: wrong_current_rows(self._connection, table),
                )
            shown = self._compare_source(table, staging)
            self._note("source/star", table, shown)
            last_key = greatest_key(self._connection, table, staging)
        return VerifiedTable(
            table.name,
            shown.equal,
            held.equal,
            rows_quarantined=shown.waiting,
            waiting=held.waiting,
            digests=Digests(
                source=shown.wanted_digest,
                star=shown.found_digest,
                lake=held.wanted_digest,
                warehouse=held.found_digest,
                snapshot=versions.snapshot,
                last_key=last_key,
            ),
        )

    def _compare_warehouse(self, table: WarehouseTable, staging: Staging) -> _Compared:
        return self._compare(
            table.key,
            lake_rows(table, staging),
            warehouse_rows(self._connection, table, staging, self._stars),
        )

    def _check_marks(self, table: WarehouseTable) -> None:
        self._deadline.limit()
        if wrong := wrong_marks(self._connection, table):
            self.differences.append(
                f"superseded_version: {wrong} versions of {table.name} are marked otherwise than "
                "its rows say"
            )

    def check_waiting(self) -> None:
        """Compares the view of what waits with the rows that do."""
        self._check_view("waiting_rule", "waiting_row", lambda: wrong_rules(self._connection))

    def _check_view(self, view: str, table: str, count_wrong: Callable[[], int]) -> None:
        self._deadline.limit()
        try:
            with self._connection.transaction():
                wrong = count_wrong()
        except psycopg.ProgrammingError as error:
            self.differences.append(f"{view} cannot be compared: {first_line(error)}")
            return
        if wrong:
            self.differences.append(
                f"{view}: {wrong} rows are not as {table} has them; somebody has replaced the "
                "view: create it again as the migration does"
            )

    def _compare_source(self, table: WarehouseTable, staging: Staging) -> _Compared:
        fingerprints = self._source.of(table.name)
        types = {column.name: column.type for column in table.columns}
        problem = _problem(table, types, fingerprints)
        if fingerprints is None or problem:
            return _Compared(0, 0, 1, "", "", (problem,))
        key = table.natural_key
        self._stage_fingerprints(table, types[key], fingerprints)
        malformed = self._lake.malformed(table, key) if table.is_fact else frozenset()
        wanted = sql.SQL(_SOURCE_ROWS).format(
            source=_SOURCE,
            quarantine=sql.Literal(WAITS_IN_QUARANTINE),
            is_fact=sql.Literal(table.is_fact),
            malformed=sql.Literal(sorted(malformed)),
        )
        current = sql.SQL("select * from {}").format(staging.of(table.name))
        if table.is_fact:
            current = sql.SQL(_CURRENT_FACTS).format(
                natural_key=sql.Identifier(key),
                stage=staging.of(table.name),
                key=sql.Identifier(table.key),
            )
        live = sql.SQL("select * from ({}) as latest where not is_deleted").format(current)
        found = _rows(key, [(name, types[name]) for name in fingerprints.columns], live)
        return self._compare(key, wanted, found, is_cumulative=fingerprints.is_cumulative)

    def _stage_fingerprints(
        self, table: WarehouseTable, key_type: str, fingerprints: StarFingerprints
    ) -> None:
        columns = (
            WarehouseColumn("key", key_type, is_required=True),
            WarehouseColumn("fingerprint", "text", is_required=False),
            WarehouseColumn("waits_in", "text", is_required=False),
        )
        self._deadline.limit()
        self._connection.execute(
            sql.SQL(
                "create temporary table source_fingerprints on commit drop as "
                "select {} as key, null::text as fingerprint, null::text as waits_in "
                "from {} with no data"
            ).format(sql.Identifier(table.natural_key), sql.Identifier(table.name))
        )
        shape = WarehouseTable(
            f"fingerprints of {table.name}", "key", columns, (), natural_key="key", is_fact=False
        )
        copy_rows(self._connection, shape, self._source.rows(fingerprints), into=_SOURCE)
        self._connection.execute(sql.SQL("analyze {}").format(_SOURCE))

    def _compare(
        self,
        key: str,
        wanted: sql.Composed,
        found: sql.Composed,
        *,
        is_cumulative: bool = False,
    ) -> _Compared:
        self._deadline.limit()
        row = self._connection.execute(
            sql.SQL(_COMPARISON).format(
                wanted=wanted,
                found=found,
                is_cumulative=sql.Literal(is_cumulative),
                key=sql.Literal(key),
                named=sql.Literal(_NAMED),
                digest=sql.SQL(_DIGEST),
            )
        ).fetchone()
        assert row is not None  # noqa: S101 - an aggregate gives one row  # nosec B101
        equal, waiting, different, wanted_digest, found_digest, named = row
        return _Compared(equal, waiting, different, wanted_digest, found_digest, tuple(named))

    def _note(self, pair: str, table: WarehouseTable, compared: _Compared) -> None:
        if compared.different:
            more = compared.different - len(compared.named)
            self.differences.append(
                f"{pair} {table.name}: {', '.join(compared.named)}"
                + (f", and {more} more" if more else "")
            )

    @contextmanager
    def _in_time(self, table: WarehouseTable) -> Iterator[None]:
        try:
            yield
        except (WarehouseBusy, psycopg.errors.QueryCanceled) as error:
            raise VerificationFailed(
                f"run {self._sequence} is loaded, but the time of the Load function did not "
                f"suffice to prove it: it came to {table.name}. Start the state machine again with "
                '{"verify": true}, which then has nothing to load; if it ends like this once more, '
                "raise the function's MemorySize, or see what keeps the warehouse busy"
                + "".join(f"; {difference}" for difference in self.differences)
            ) from error


def lake_rows(table: WarehouseTable, staging: Staging) -> sql.Composed:
    """Returns a SELECT of the fingerprints of all staged rows of a star table."""
    staged = sql.SQL("select * from {}").format(staging.of(table.name))
    return _rows(table.key, _columns(table), staged, is_wanted=True)


def warehouse_rows(
    connection: psycopg.Connection,
    table: WarehouseTable,
    staging: Staging,
    stars: Collection[str],
    through_key: int | None = None,
) -> sql.Composed:
    """Returns a SELECT of the fingerprints of the warehouse's rows of a star table.

    Args:
        connection: The warehouse.
        table: The star table.
        staging: The rows of the star schema.
        stars: The names of the star tables.
        through_key: The greatest key of the rows; None for all.
    """
    parts = {
        "held": table.rows,
        "stage": staging.of(table.name),
        "name": sql.Literal(table.name),
        "key": sql.Identifier(table.key),
        "is_fact": sql.Literal(table.is_fact),
        "is_referred_to": is_referred_to(connection, table, stars),
    }
    selects = [sql.SQL(text).format(**parts) for text in (_SHOWN, _WAITING)]
    if through_key is not None:
        limited = "select * from ({}) as every where {} <= {}"
        key, last = sql.Identifier(table.key), sql.Literal(through_key)
        selects = [sql.SQL(limited).format(select, key, last) for select in selects]
    shown, waiting = selects
    return sql.SQL(" union all ").join(
        [
            _rows(table.key, _columns(table), shown),
            _rows(table.key, _columns(table), waiting, waits=True),
        ]
    )


def digest_of(connection: psycopg.Connection, rows: sql.Composed) -> str:
    """Returns the digest of rows, as `lake_rows` and `warehouse_rows` select them."""
    row = connection.execute(
        sql.SQL(
            "select coalesce({}, 0)::text from ({}) as rows (key, fingerprint, waits, is_wanted)"
        ).format(sql.SQL(_DIGEST), rows)
    ).fetchone()
    assert row is not None  # noqa: S101 - an aggregate gives one row  # nosec B101
    return str(row[0])


def greatest_key(
    connection: psycopg.Connection, table: WarehouseTable, staging: Staging
) -> int | None:
    """Returns the greatest record id among a fact's staged rows."""
    if not table.is_fact:
        return None
    query = sql.SQL("select pg_catalog.max({}) from {}").format(
        sql.Identifier(table.key), staging.of(table.name)
    )
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def _columns(table: WarehouseTable) -> list[tuple[str, str]]:
    return [(column.name, column.type) for column in table.columns]


def _problem(
    table: WarehouseTable, types: dict[str, str], fingerprints: StarFingerprints | None
) -> str:
    """Returns why a table cannot be compared with the source; nothing if it can."""
    if fingerprints is None:
        return "it has no SELECT"
    if fingerprints.failure:
        return f"its SELECT fails at the source ({fingerprints.failure})"
    own = _OF_THE_STAR | ({table.key} - {table.natural_key})
    if unmatched := sorted((types.keys() - own) ^ set(fingerprints.columns)):
        return f"only one of SELECT and warehouse has {', '.join(unmatched)}"
    return ""


def _rows(
    key: str,
    columns: list[tuple[str, str]],
    select: sql.Composed,
    *,
    waits: bool = False,
    is_wanted: bool = False,
) -> sql.Composed:
    """Returns a SELECT of rows for the comparison: key, fingerprint, waits, is_wanted."""
    return sql.SQL("select {}, {}, {}, {} from ({}) as one").format(
        sql.Identifier(key),
        postgres_fingerprint(columns),
        sql.Literal(waits),
        sql.Literal(is_wanted),
        select,
    )
