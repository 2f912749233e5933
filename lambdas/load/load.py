"""One load: the star schema's new rows, shown by one transaction of the warehouse.

If the time is sure to suffice, that transaction also copies the rows. Otherwise the load stages the
rows first, in transactions of their own and in as many invocations as that takes.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg

from lambdas.load.control_tables import check_control_tables
from lambdas.load.deadline import Deadline
from lambdas.load.lake import Lake, TableBuild
from lambdas.load.migrations import migrate, migrations
from lambdas.load.pace import Pace
from lambdas.load.plan import Plan, SourceChanged, make_plan
from lambdas.load.resumable import ResumableStaging
from lambdas.load.show import LoadedTable, Show
from lambdas.load.staging import TemporaryStaging
from pipeline import warehouse_schema
from pipeline.errors import InvalidSettings, WarehouseBusy, WarehouseUnavailable, first_line
from pipeline.requests import LoadRequest
from star_schema.tables import star_tables

_ONE_LOAD_AT_A_TIME = 7_065_636_002
_HOLDER: LiteralString = """
select
    activity.pid,
    coalesce(pg_catalog.host(activity.client_addr), 'the server itself'),
    pg_catalog.to_char(activity.backend_start, 'YYYY-MM-DD HH24:MI:SS TZ')
from pg_locks as held
join pg_stat_activity as activity on activity.pid = held.pid
where held.locktype = 'advisory'
    and held.database = (select oid from pg_database where datname = current_database())
    and (held.classid, held.objid, held.objsubid)
        = ((%(lock)s::bigint >> 32)::oid, (%(lock)s::bigint & 4294967295)::oid, 1)
    and held.granted
"""
_LOCK_SECONDS = 60.0
"""How long to wait for a lock: well inside the time allowed, and longer than a query lasts."""
_PACE = Pace()


@dataclass(frozen=True)
class LoadResult:
    """What a load did.

    Attributes:
        complete: Whether the warehouse shows the load. If not, rows were staged, the warehouse is
            as it was, and the same request goes on from there.
        sequence: The run that was asked for.
        through: The run through which every star table is loaded.
        rows: Rows added and changed, in all tables.
        seconds: The time from the first invocation of the load to the end of this one.
        tables: What the load did to each table.
        facts_waiting: Fact rows that wait in waiting_row after the load.
        dimension_rows_waiting: Dimension rows that wait there.
        problems: Why star tables were not loaded, each as a sentence; the others are loaded.
        builds: The builds that the load shows, by table.
    """

    complete: bool
    sequence: int
    through: int = 0
    rows: int = 0
    seconds: float = 0.0
    tables: tuple[LoadedTable, ...] = ()
    facts_waiting: int = 0
    dimension_rows_waiting: int = 0
    problems: tuple[str, ...] = ()
    builds: Mapping[str, TableBuild] = field(default_factory=dict, compare=False)


def load(
    connection: psycopg.Connection,
    lake: Lake,
    request: LoadRequest,
    changed: SourceChanged,
    *,
    seconds_left: Callable[[], float],
    is_overtaken: Callable[[], bool] = lambda: False,
    lock_seconds: float = _LOCK_SECONDS,
    pace: Pace = _PACE,
) -> LoadResult:
    """Loads the star schema through a run, or stages rows of it.

    Args:
        connection: The warehouse, in autocommit mode.
        lake: The star schema.
        request: What to load.
        changed: What the runs did to the sources of a star table.
        seconds_left: How long the caller may still run.
        is_overtaken: Returns whether the raw zone has runs after the one to load through, of
            another execution. It is asked while no other load is under way.
        lock_seconds: How long to wait for a lock that somebody else holds.
        pace: How many rows fit into that time.

    Raises:
        RunConflict: Another execution has loaded a later run; nothing was changed.
        InvalidSettings: The database cannot be a warehouse; nothing was written.
        MigrationFailed: The schema could not be brought up to date.
        StarSchemaMismatch: The warehouse is loaded through a later run, or a trigger or a table of
            somebody else changes what a load notes; nothing was changed.
        ObjectStoreUnavailable: The lake could not be read.
        WarehouseUnavailable: The server is a standby, for now at least.
        WarehouseBusy: The time would not suffice, or another load is under way; nothing was
            changed.
        psycopg.Error: The warehouse gave up (LockNotAvailable, QueryCanceled), dropped the
            connection, or refused; nothing was changed.
    """
    began = time.monotonic()
    deadline = Deadline(connection, seconds_left, lock_seconds)
    _check_server(connection)
    warehouse_schema.enter(connection.cursor())
    deadline.limit()
    with _alone(connection):
        migrate(connection, migrations())
        check_control_tables(connection)
        stars = {one.name: one for one in star_tables()}
        plan = make_plan(connection, lake, stars, request, changed, is_overtaken=is_overtaken)
        staging = ResumableStaging(connection, plan)
        if staging.is_begun() or not pace.suffices(plan.versions, deadline):
            if not staging.go_on(deadline, pace):
                return LoadResult(False, request.sequence, seconds=round(staging.seconds(), 3))
            began -= staging.seconds()
            loaded = Show(staging, plan, request, deadline, pace).run()
        else:
            loaded = _show_at_once(plan, staging, request, deadline, pace)
    return _result(plan, loaded, request, round(time.monotonic() - began, 3))


def _show_at_once(
    plan: Plan, staging: ResumableStaging, request: LoadRequest, deadline: Deadline, pace: Pace
) -> tuple[LoadedTable, ...]:
    try:
        temporary = TemporaryStaging(deadline.connection, plan.versions)
        return Show(temporary, plan, request, deadline, pace).run()
    except (WarehouseBusy, psycopg.errors.QueryCanceled):
        # The time did not suffice for one transaction: the next attempt stages rows in steps.
        staging.begin()
        raise


def _check_server(connection: psycopg.Connection) -> None:
    # Servers before PostgreSQL 14 do not tell.
    if connection.info.parameter_status("in_hot_standby") == "on":
        raise WarehouseUnavailable(
            "the warehouse's server is a standby, which cannot be written to. If it stays one "
            "after a failover, put the address of the primary server into the warehouse's secret"
        )
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise InvalidSettings(
            f"the warehouse's database has the encoding {encoding}, which does not have every "
            "character of the source: create a database with encoding 'UTF8', and name it in the "
            "warehouse's secret"
        )


def _under_way(connection: psycopg.Connection, error: psycopg.Error) -> WarehouseBusy:
    """Returns the error of a load that waited in vain for another one, which it names."""
    holder = connection.execute(_HOLDER, {"lock": _ONE_LOAD_AT_A_TIME}).fetchone()
    if holder is None:
        return WarehouseBusy(f"another load was under way until now: {first_line(error)}")
    pid, host, since = holder
    return WarehouseBusy(
        f"another load is under way ({first_line(error)}): session {pid} of the warehouse's "
        f"server, from {host} since {since}. If its function was killed, the server ends it within "
        f"two minutes, and `select pg_terminate_backend({pid})` at once. Nothing was changed"
    )


@contextmanager
def _alone(connection: psycopg.Connection) -> Iterator[None]:
    """Keeps other loads away, over any number of transactions."""
    try:
        connection.execute("select pg_catalog.pg_advisory_lock(%s)", [_ONE_LOAD_AT_A_TIME])
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled) as error:
        raise _under_way(connection, error) from error
    try:
        yield
    finally:
        # A connection that was lost holds no lock.
        if not connection.broken:
            connection.execute("select pg_catalog.pg_advisory_unlock(%s)", [_ONE_LOAD_AT_A_TIME])


def _result(
    plan: Plan, loaded: tuple[LoadedTable, ...], request: LoadRequest, seconds: float
) -> LoadResult:
    facts = {table.name for table in plan.tables if table.is_fact}
    return LoadResult(
        complete=True,
        sequence=request.sequence,
        through=min(plan.reached().values()),
        rows=sum(table.inserted + table.updated for table in loaded),
        seconds=seconds,
        tables=loaded,
        facts_waiting=sum(one.waiting for one in loaded if one.table in facts),
        dimension_rows_waiting=sum(one.waiting for one in loaded if one.table not in facts),
        problems=tuple(plan.problems[name] for name in sorted(plan.problems)),
        builds={
            name: build
            for name, versions in sorted(plan.versions.items())
            if (build := versions.newest_build)
        },
    )
