"""What a load brings to each star table: the rows after the table's position, as far as built."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import psycopg

from lambdas.load import waiting
from lambdas.load.catalog import (
    WarehouseTable,
    loaded_columns,
    lost_references,
    read_star_tables,
)
from lambdas.load.lake import Lake, Versions
from lambdas.load.position import (
    NOTHING,
    Shown,
    greatest_record_ids,
    has_newest,
    positions,
    shown,
)
from pipeline.errors import AccessRefused, RunConflict, StarSchemaMismatch, first_line
from pipeline.manifest import ManifestStore
from pipeline.requests import LoadRequest
from star_schema.tables import StarTable

SourceChanged = Callable[[StarTable, int, int], bool]
"""Whether a run after the first one and up to the second one changed a source of a star table."""

COSTS_ITS_TABLE: Final = (StarSchemaMismatch, AccessRefused)
"""Errors that a load reports of a star table, and loads the others."""
OF_ONE_TABLE: Final = (
    psycopg.ProgrammingError,
    psycopg.NotSupportedError,
    psycopg.InternalError,
    psycopg.errors.ObjectNotInPrerequisiteState,
)
"""PostgreSQL's errors that one table causes, apart from refusals: the others can be loaded."""
_SIDE_BY_SIDE = 8
"""How many tables' metadata is read at a time: each takes a few requests, one after the other."""


@dataclass
class Plan:
    """What a load is to bring.

    Attributes:
        tables: The star tables that can be loaded, every table after those that it references.
        versions: The rows of each of them in the lake.
        before: Their positions before the load.
        through: Their positions after the load.
        problems: Why the other star tables cannot be loaded. The load adds to them.
        positions: The positions of all declared star tables before the load.
    """

    tables: tuple[WarehouseTable, ...] = ()
    versions: dict[str, Versions] = field(default_factory=dict)
    through: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)

    def reached(self) -> dict[str, int]:
        """Returns the run through which each declared star table is loaded when the load ends."""
        loaded = {name: run for name, run in self.through.items() if name not in self.problems}
        return self.positions | loaded


def source_changed(store: ManifestStore) -> SourceChanged:
    """Returns what the manifests say of a star table's sources.

    A source that the newest of the runs does not have counts as changed.
    """

    def changed(star: StarTable, after: int, through: int) -> bool:
        if after >= through:
            return False
        tables = store.read(through).tables
        entries = [tables.get(source) for source in star.sources]
        return any(entry is None or entry.changed_in > after for entry in entries)

    return changed


def make_plan(
    connection: psycopg.Connection,
    lake: Lake,
    stars: Mapping[str, StarTable],
    request: LoadRequest,
    changed: SourceChanged,
    *,
    is_overtaken: Callable[[], bool],
) -> Plan:
    """Looks up what is to be loaded.

    Args:
        connection: The warehouse.
        lake: The star schema.
        stars: The declared star tables.
        request: What to load.
        changed: What the sources of a star table did.
        is_overtaken: Returns whether the raw zone has runs after the one to load through.

    Raises:
        RunConflict: Another execution has loaded a later run of the raw zone.
        StarSchemaMismatch: The warehouse is loaded through a later run, of another raw zone.
        AccessRefused: A policy allows to read no table of the lake.
        ObjectStoreUnavailable: The lake could not be read.
    """
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        # The lake answers while the warehouse does.
        listing = pool.submit(lake.listed)
        plan = Plan(positions=_positions(connection, stars, request, is_overtaken))
        before, waits = shown(connection), waiting.counts(connection)
        tables = read_star_tables(connection, stars.values())
        listed = listing.result()

        def read(table: WarehouseTable) -> tuple[int, Versions]:
            _check_columns(table, stars[table.name])
            _check_keys(table)
            _check_references(table, stars)
            _check_logged(table)
            after = 0 if request.rebuild else plan.positions[table.name]
            return after, listed.versions(table, after=after, through=request.sequence)

        found = {table.name: pool.submit(read, table) for table in tables}
    for table in tables:
        try:
            after, versions = found[table.name].result()
            built = _built(versions, table.name)
            if not request.rebuild:
                _check_history(stars[table.name], built, after, changed)
                state = before.get(table.name, NOTHING)
                _check_rebuild(versions, table.name, after, state)
                _check_rows(connection, table, state, waits.get(table.name, 0))
        except COSTS_ITS_TABLE as error:
            plan.problems[table.name] = str(error)
            if len(plan.problems) == len(tables) and isinstance(error, AccessRefused):
                raise
            continue
        built = min(built, request.sequence)
        is_behind = changed(stars[table.name], built, request.sequence)
        plan.through[table.name] = max(built, after) if is_behind else request.sequence
        if versions.table is not None:
            plan.versions[table.name] = versions
    for name in stars.keys() - {table.name for table in tables}:
        plan.problems[name] = f"the warehouse has no table {name}: create it by a migration"
    plan.tables = tuple(table for table in tables if table.name in plan.versions)
    return plan


def _positions(
    connection: psycopg.Connection,
    stars: Iterable[str],
    request: LoadRequest,
    is_overtaken: Callable[[], bool],
) -> dict[str, int]:
    held = positions(connection)
    own = {name: held.get(name, 0) for name in stars}
    newest = max(own.values(), default=0)
    if newest > request.sequence and is_overtaken():
        raise RunConflict(
            f"another execution has loaded the warehouse through run {newest}, and this load of "
            f"run {request.sequence} is late: nothing was changed"
        )
    if newest > request.sequence and not request.rebuild:
        raise StarSchemaMismatch(
            f"the warehouse is loaded through run {newest}, and the raw zone has come to run "
            f"{request.sequence} only: it is another one, or was restored. Start the state machine "
            'with {"rebuild": true} to make the warehouse equal to it'
        )
    return own


def _check_columns(table: WarehouseTable, star: StarTable) -> None:
    names = {column.name for column in table.columns}
    if missing := sorted(loaded_columns(star) - names):
        raise StarSchemaMismatch(
            f"{table.name} has no {', '.join(missing)} in the warehouse: add it by a migration"
        )


def _check_keys(table: WarehouseTable) -> None:
    """Checks that the warehouse tells all keys apart: of two equal ones it would keep one row."""
    for column in table.columns:
        if column.equates_texts and column.name in (table.key, table.natural_key):
            raise StarSchemaMismatch(
                f"the collation of {table.name}.{column.name} takes different keys for equal: run "
                f"`alter table {table.name} alter {column.name} type {column.type} "
                'collate "default"`'
            )


def _check_references(table: WarehouseTable, stars: Mapping[str, StarTable]) -> None:
    """Checks that rows without their dimension rows are told from others."""
    if lost := lost_references(table, stars):
        keys = ", ".join(
            f"add foreign key ({column.name}) references {column.references}" for column in lost
        )
        raise StarSchemaMismatch(
            f"{table.name} has lost foreign keys, without which its rows would be shown without "
            f"their dimension rows: run `alter table {table.name} {keys}`. If rows break one, add "
            'it as `not valid`, and start the state machine with {"rebuild": true}'
        )


def _check_logged(table: WarehouseTable) -> None:
    """Checks that a crash of the server does not empty a table whose position stays."""
    if table.is_unlogged:
        raise StarSchemaMismatch(
            f"{table.name} is unlogged, so that a crash of the server empties it: run `alter table "
            f"{table.name} set logged`. If it has lost rows, start the state machine with "
            '{"rebuild": true}'
        )


def _built(versions: Versions, table: str) -> int:
    """Returns the run through which a table is built."""
    applied = versions.applied_through
    if applied is None:
        raise StarSchemaMismatch(
            f"no snapshot of {table} in the lake says through which run the table is built: they "
            'were expired. Start the state machine with {"rebuild": true}'
        )
    return applied


def _check_history(star: StarTable, built: int, position: int, changed: SourceChanged) -> None:
    """Checks that the lake has all that the warehouse has of a table."""
    if built < position and changed(star, built, position):
        raise StarSchemaMismatch(
            f"{star.name} is built through run {built} in the lake and loaded through run "
            f"{position}: the lake table was rolled back or replaced. Start the state machine "
            "again, which builds the missing runs; if it ends like this once more, with "
            '{"rebuild": true}'
        )


def _check_rebuild(versions: Versions, table: str, position: int, state: Shown) -> None:
    """Checks that the lake's table was not built anew since the warehouse's was loaded."""
    if position and versions.built_anew not in (None, state.built_anew):
        raise StarSchemaMismatch(
            f"{table} was built anew in the lake, or rolled back to before that, and the warehouse "
            "has the rows of the other build: the load of a rebuild failed, or an earlier state of "
            'the warehouse was restored. Start the state machine with {"rebuild": true}'
        )


def _check_rows(
    connection: psycopg.Connection, table: WarehouseTable, state: Shown, waits: int
) -> None:
    """Checks that the warehouse has the newest of what the last load left of a table.

    A table that was restored to an earlier state or emptied has lost it.
    """
    try:
        found, marked = greatest_record_ids(connection, table)
        is_there = has_newest(connection, table, state)
    except OF_ONE_TABLE as error:
        raise StarSchemaMismatch(refused(table, error)) from error
    if found is not None and found < (state.record_id or 0):
        raise _lost(
            f"{table.name} was loaded through {table.key} {state.record_id}, and has come to "
            f"{found} only"
        )
    if not is_there:
        raise _lost(
            f"{table.name} was loaded with {table.key} {state.newest_key} of execution "
            f"{state.newest_run_id}, and does not have it"
        )
    if marked is not None and marked < (state.marked or 0):
        raise _lost(
            f"superseded_version had {table.key} {state.marked} of {table.name}, and has come to "
            f"{marked} only"
        )
    if state.waiting not in (None, waits):
        raise _lost(
            f"waiting_row has {waits} rows of {table.name}, and the last load left {state.waiting}"
        )


def _lost(what: str) -> StarSchemaMismatch:
    return StarSchemaMismatch(
        f"{what}: its rows were deleted, or an earlier state of it was restored. Start the state "
        'machine with {"rebuild": true}'
    )


def refused(table: WarehouseTable, error: psycopg.Error) -> str:
    """Returns the problem of a table about which the warehouse gave an error."""
    others = f"; it has {', '.join(table.attached)}" if table.attached else ""
    return f"the warehouse refused {table.name} ({error.sqlstate}): {first_line(error)}{others}"
