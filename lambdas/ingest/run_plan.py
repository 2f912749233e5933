"""What a run has to take, and how far it has come: kept where a later invocation finds it.

A run that is larger than one invocation goes on in the next one, in a snapshot of that time. Its
cursor stays where the first snapshot put it, so the run after it takes again whatever was written
in between: docs/adr/0002-runs-of-several-snapshots.md.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdas.ingest.change_capture import Plan
from lambdas.ingest.chunks import Chunk
from lambdas.ingest.discovery import SourceSnapshot, SourceTable
from pipeline.manifest import Capture, Column, Statistics
from pipeline.object_store import ObjectStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_PREFIX = "progress/"


@dataclass(frozen=True)
class TablePlan:
    """One table's part of a run.

    Attributes:
        table: The table as the first snapshot showed it.
        plan: How it is taken.
        statistics: Its counters, as they stood before the first snapshot.
        chunks: What its rows are taken in.
    """

    table: SourceTable
    plan: Plan
    statistics: Statistics
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class RunPlan:
    """All that a run takes.

    Attributes:
        sequence: The number that it will be committed as.
        snapshot: The run's first snapshot.
        tables: Every table of the source, those that the star schema joins first.
        warnings: What somebody should know of.
    """

    sequence: int
    snapshot: SourceSnapshot
    tables: tuple[TablePlan, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Done:
    """What became of a chunk, or of a sweep of the keys.

    Attributes:
        rows: Rows in `files`.
        files: Keys of the Parquet files in the raw bucket.
        not_held: Values in `quarantine_files`.
        quarantine_files: Keys of the Parquet files of values that are not held.
        seconds: How long it took.
        invocation: Which invocation of the run did it, from 0.
    """

    rows: int
    files: tuple[str, ...]
    not_held: int
    quarantine_files: tuple[str, ...]
    seconds: float
    invocation: int


class Progress:
    """The progress of one run, as objects under `progress/<run_id>/` of the raw bucket.

    They expire by a lifecycle rule of the bucket.
    """

    def __init__(self, bucket: str, client: "S3Client", run_id: str) -> None:
        self._objects = ObjectStore(bucket, client)
        self._prefix = f"{_PREFIX}{run_id}/"

    def plan(self) -> tuple[RunPlan, int] | None:
        """Returns the plan that an earlier invocation made, and how many there have been."""
        text = self._objects.get_if_there(f"{self._prefix}plan.json")
        if text is None:
            return None
        document: dict[str, Any] = json.loads(text)
        return _run_plan(document["plan"]), int(document["invocations"])

    def begin(self, plan: RunPlan, invocations: int) -> None:
        """Keeps the plan for the next invocation."""
        self._put("plan.json", {"plan": dataclasses.asdict(plan), "invocations": invocations})

    def done(self) -> dict[tuple[str, int], Done]:
        """Returns what became of each chunk, by table and the chunk's number."""
        found: dict[tuple[str, int], Done] = {}
        for stored in self._objects.keys(f"{self._prefix}chunks/"):
            entry = json.loads(self._objects.get(stored.key))
            key = (entry.pop("table"), entry.pop("chunk"))
            for files in ("files", "quarantine_files"):
                entry[files] = tuple(entry[files])
            found[key] = Done(**entry)
        return found

    def keep(self, table: str, chunk: int, done: Done) -> None:
        """Keeps what became of a chunk; it is not taken again."""
        # A table's name may hold anything: its place in the order of names does for a key.
        self._put(
            f"chunks/{table.encode().hex()}-{chunk:06d}.json",
            {"table": table, "chunk": chunk, **dataclasses.asdict(done)},
        )

    def _put(self, name: str, document: dict[str, Any]) -> None:
        text = json.dumps(document).encode()
        self._objects.put(f"{self._prefix}{name}", text, "application/json")


def _run_plan(document: dict[str, Any]) -> RunPlan:
    return RunPlan(
        sequence=document["sequence"],
        snapshot=SourceSnapshot(**document["snapshot"]),
        tables=tuple(_table_plan(entry) for entry in document["tables"]),
        warnings=tuple(document["warnings"]),
    )


def _table_plan(entry: dict[str, Any]) -> TablePlan:
    table, plan = entry["table"], entry["plan"]
    columns = tuple(Column(**column) for column in table.pop("columns"))
    key = tuple(table.pop("primary_key"))
    capture = Capture(plan.pop("capture"))
    return TablePlan(
        table=SourceTable(**table, columns=columns, primary_key=key),
        plan=Plan(capture, **plan),
        statistics=Statistics(**entry["statistics"]),
        chunks=tuple(Chunk(**chunk) for chunk in entry["chunks"]),
    )
