"""The table captured_run: every run up to the one that is loaded, with its snapshot's instant."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Final, LiteralString

import psycopg
from psycopg import sql

from pipeline import warehouse_schema
from pipeline.errors import ManifestInvalid, StarSchemaMismatch
from pipeline.manifest import Manifest, ManifestStore

_MOST = 200
"""How many manifests a load reads at most: a warehouse of an earlier version has no runs yet."""
_SIDE_BY_SIDE: Final = 8
# A load that lingers may come here after a later one, whose runs stay.
_THROUGH: Final = sql.SQL(
    "greatest(%s::bigint, (select pg_catalog.max(load_position.sequence) from load_position))"
)
_FORGET: Final = sql.SQL("delete from captured_run where %s or sequence > {}").format(_THROUGH)
_MISSING: Final = sql.SQL("""
select sequence
from pg_catalog.generate_series({}, 1, -1) as sequence
where sequence not in (select captured_run.sequence from captured_run)
limit %s
""").format(_THROUGH)
_HELD: LiteralString = """
select sequence, run_id, snapshot_at
from captured_run
where sequence = any (%s)
"""
_NEWEST: LiteralString = """
select sequence, run_id
from captured_run
where sequence <= %s
order by sequence desc
limit 1
"""


def refuse_other_runs(connection: psycopg.Connection, store: ManifestStore, through: int) -> None:
    """Fails if the warehouse has runs of another raw zone: its rows are not those of the lake.

    Args:
        connection: The warehouse, in autocommit mode; its session then uses the warehouse's schema.
        store: The manifests.
        through: The run to load through.

    Raises:
        StarSchemaMismatch: The newest run of the warehouse is of another execution.
        ObjectStoreUnavailable: A manifest could not be read.
    """
    warehouse_schema.enter(connection.cursor())
    if connection.execute("select pg_catalog.to_regclass('captured_run') is null").fetchone() == (
        True,
    ):
        return  # the load migrates the warehouse
    known = connection.execute(_NEWEST, [through]).fetchone()
    run = _read(store, known[0]) if known else None
    if known and run and run.run_id != known[1]:
        raise StarSchemaMismatch(
            f"the warehouse has run {run.sequence} of execution {known[1]}, and the raw zone that "
            f"of execution {run.run_id}: it is another one, or was restored. Start the state "
            'machine with {"rebuild": true} to make the warehouse equal to it'
        )


def record_runs(
    connection: psycopg.Connection, store: ManifestStore, through: int, *, anew: bool = False
) -> None:
    """Adds the runs that the table lacks, the newest first and at most 200.

    A run without a readable manifest is left out: history does not show its rows.

    Args:
        connection: The warehouse, in autocommit mode.
        store: The manifests.
        through: The run that is loaded.
        anew: Whether the warehouse was made equal to a raw zone that may be another one.

    Raises:
        ObjectStoreUnavailable: A manifest could not be read.
    """
    with connection.transaction():
        connection.execute(_FORGET, [anew, through])
        missing = connection.execute(_MISSING, [through, _MOST]).fetchall()
        runs = [run for (sequence,) in missing if (run := _read(store, sequence)) is not None]
        connection.cursor().executemany(
            "insert into captured_run (sequence, run_id, snapshot_at) values (%s, %s, %s) "
            "on conflict do nothing",
            [(run.sequence, run.run_id, run.snapshot_at) for run in runs],
        )


def wrong_runs(connection: psycopg.Connection, store: ManifestStore, through: int) -> list[int]:
    """Returns those of the last 200 runs that the table lacks, or has otherwise than the manifests.

    Args:
        connection: The warehouse.
        store: The manifests. A run without a readable one is right.
        through: The last of the runs.

    Raises:
        ObjectStoreUnavailable: A manifest could not be read.
    """
    wanted = range(through, max(0, through - _MOST), -1)
    found = connection.execute(_HELD, [list(wanted)])
    held = {sequence: known for sequence, *known in found}
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        runs = pool.map(partial(_read, store), wanted)
        return [
            run.sequence
            for run in runs
            if run
            and held.get(run.sequence) != [run.run_id, datetime.fromisoformat(run.snapshot_at)]
        ]


def _read(store: ManifestStore, sequence: int) -> Manifest | None:
    try:
        return store.read(sequence)
    except ManifestInvalid:
        return None
