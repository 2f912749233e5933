"""The cost of a large table with few changes: seconds, and bytes read at the source.

It runs in its own process, with a local cloud that `measure` starts and stops.
"""

import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, LiteralString

import boto3
import psycopg
from psycopg import sql

from benchmarks.ingest.contenders.task import KEY, TABLE, output_folder, source_url
from benchmarks.ingest.course import Course
from benchmarks.measure import Contender, table
from lambdas.ingest.ingest import ingest
from local.cloud.server import REGION, LocalCloud
from local.stack import JARS
from pipeline.requests import IngestRequest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHANGED_ROWS: Final = (0, 200, 20_000)
ROUNDS: Final = 3
_READERS = 2
_BUCKET = "raw"
_SECONDS = 3600.0
_SETTLED_SECONDS = 60.0
_POLL_SECONDS = 0.05
_STEPS = "steps.json"
_COMMAND = Contender("incremental", (sys.executable, "-m", "benchmarks.ingest.incremental"))
_BYTES_READ: LiteralString = """
select
    sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0))
        * current_setting('block_size')::bigint
from pg_statio_user_tables
where relid = %(table)s::regclass
    or relid in (select relid from pg_partition_tree(%(table)s))
"""
_CHANGE: LiteralString = """
update {table}
set units_sold = units_sold + 1, last_updated = now()
where {key} in (select {key} from {table} order by hashint4({key}) limit %s)
"""
_OTHER_CONNECTIONS: LiteralString = """
select exists (
    select from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
)
"""


class SourceDidNotSettle(Exception):
    """A connection to the source stayed open, so its counters are incomplete."""


@dataclass(frozen=True)
class Step:
    """The ingests after the same number of changes.

    Attributes:
        changed: The number of changed rows; None for the first ingest, of the whole table.
        rows: The number of rows captured.
        wall_s: The median in seconds.
        bytes_read: Bytes of the table and its index that the source's server read, from its cache
            or from disk; the maximum of the rounds.
    """

    changed: int | None
    rows: int
    wall_s: float
    bytes_read: int


def measure(url: str, folder: Path) -> tuple[Step, ...]:
    """Ingests a filled source: the whole table once, then changes.

    Args:
        url: The source. Its rows are changed.
        folder: The folder of the local cloud's state.

    Raises:
        CommandFailed: An ingest failed.
        RuntimeError: The local cloud did not start.
    """
    cloud = LocalCloud(folder / "cloud", JARS)
    steps: list[Step] = []

    def keep(output: Path) -> None:
        steps.extend(Step(**step) for step in json.loads((output / _STEPS).read_text()))

    try:
        cloud.start()
        course = Course(url, folder, timeout_s=_SECONDS, variables=cloud.environment())
        course.run(_COMMAND, keep)
    finally:
        cloud.stop()
    return tuple(steps)


def steps_table(steps: Sequence[Step]) -> str:
    """Returns the steps as a table."""
    rows = [
        (
            "nothing before it" if step.changed is None else f"{step.changed:,} changed rows",
            f"{step.wall_s:.2f}",
            f"{step.rows:,}",
            f"{step.bytes_read / 1e6:,.1f}",
        )
        for step in steps
    ]
    return table(("ingest after", "wall s", "rows taken", "MB read at the source"), rows)


def main() -> None:
    """Ingests after each number of changes, in turns, and writes the steps."""
    url, s3 = source_url(), boto3.client("s3")
    s3.create_bucket(Bucket=_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    whole = _ingest(url, s3, None)
    rounds = [[_change_and_ingest(url, s3, rows) for rows in CHANGED_ROWS] for _ in range(ROUNDS)]
    steps = [whole, *(_summary(steps) for steps in zip(*rounds, strict=True))]
    (output_folder() / _STEPS).write_text(json.dumps([asdict(step) for step in steps]))


def _change_and_ingest(url: str, s3: "S3Client", rows: int) -> Step:
    if rows:
        statement = sql.SQL(_CHANGE).format(table=sql.Identifier(TABLE), key=sql.Identifier(KEY))
        with psycopg.connect(url) as connection:
            connection.execute(statement, [rows])
    return _ingest(url, s3, rows)


def _ingest(url: str, s3: "S3Client", changed: int | None) -> Step:
    before = _bytes_read(url)
    began = time.monotonic()
    result = ingest(
        IngestRequest("benchmark"),
        connect=lambda: psycopg.connect(url),
        bucket=_BUCKET,
        client=s3,
        joined=frozenset(),
        readers=_READERS,
    )
    wall = time.monotonic() - began
    return Step(changed, result.rows, wall, _bytes_read(url) - before)


def _bytes_read(url: str) -> int:
    """Returns the bytes of the table that were read, once the counters are complete.

    A connection's counters are complete once it has left `pg_stat_activity`: PostgreSQL's
    pgstat_shutdown_hook reports them before.
    """
    deadline = time.monotonic() + _SETTLED_SECONDS
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(_OTHER_CONNECTIONS).fetchone() == (True,):
            if time.monotonic() > deadline:
                raise SourceDidNotSettle(f"a connection to the source of {TABLE} stays open")
            time.sleep(_POLL_SECONDS)
        row = connection.execute(_BYTES_READ, {"table": TABLE}).fetchone()
    assert row is not None  # noqa: S101 - an aggregate gives one row
    return int(row[0])


def _summary(steps: tuple[Step, ...]) -> Step:
    return Step(
        steps[0].changed,
        steps[0].rows,
        round(statistics.median(step.wall_s for step in steps), 3),
        max(step.bytes_read for step in steps),
    )


if __name__ == "__main__":
    main()
