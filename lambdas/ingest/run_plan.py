"""The plan of a run: which rows of which tables it takes.

A run that is larger than one invocation continues in the next invocation, under a snapshot of that
time. Its cursor stays at the first snapshot, so the run after it takes all rows that were written
in between: docs/adr/0002-runs-of-several-snapshots.md.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from lambdas.ingest.change_capture import Decision
from lambdas.ingest.chunks import Chunk
from lambdas.ingest.discovery import SourceSnapshot, SourceTable
from lambdas.ingest.key_count import Counting, KeyCount
from lambdas.ingest.leaves import Leaf
from pipeline.manifest import Capture, Column, Epoch, Statistics


@dataclass(frozen=True)
class TablePlan:
    """One table's part of a run.

    Attributes:
        identifier: Identifies this plan among all plans that were made for the table.
        table: The table in the snapshot that it was planned in, in general the run's first one.
        natural_key: The columns that identify a row: the declared natural key, or the primary key
            of a table that has no declaration. Empty for a table without either.
        decision: How the table is captured.
        statistics: The table's counters, read before the first snapshot.
        chunks: The chunks that its rows are read in.
    """

    identifier: str
    table: SourceTable
    natural_key: tuple[str, ...]
    decision: Decision
    statistics: Statistics
    chunks: tuple[Chunk, ...]

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Returns the plan that `dataclasses.asdict` described."""
        table = dict(document["table"])
        decision = dict(document["decision"])
        columns = tuple(Column(**column) for column in table.pop("columns"))
        primary_key = tuple(table.pop("primary_key"))
        leaves = tuple(Leaf(**leaf) for leaf in table.pop("leaves"))
        decision["capture"] = Capture(decision["capture"])
        for transactions in ("captured_before", "definitions"):
            decision[transactions] = tuple(decision[transactions])
        counting, count = decision["counting"], decision["count"]
        decision["counting"] = counting and Counting.from_document(counting)
        decision["count"] = count and KeyCount.from_document(count)
        return cls(
            identifier=document["identifier"],
            table=SourceTable(**table, columns=columns, primary_key=primary_key, leaves=leaves),
            natural_key=tuple(document["natural_key"]),
            decision=Decision(**decision),
            statistics=Statistics(**document["statistics"]),
            chunks=tuple(Chunk(**chunk) for chunk in document["chunks"]),
        )


@dataclass(frozen=True)
class RunPlan:
    """Everything that a run takes.

    Attributes:
        sequence: The sequence that the run is committed as.
        snapshot: The run's first snapshot.
        tables: Every other table of the source; tables that the star schema joins come first.
        warnings: Warnings for the run's report.
        not_taken: Why some tables of the source cannot be planned, by name.
        starts_over: Whether every table is captured whole, as nothing can be compared with the
            last run.
        distrusts_counters: Whether the server loaded its configuration since the last run, so that
            changes may not have been counted for a time.
    """

    sequence: int
    snapshot: SourceSnapshot
    tables: tuple[TablePlan, ...]
    warnings: tuple[str, ...]
    not_taken: dict[str, str]
    starts_over: bool
    distrusts_counters: bool

    def to_document(self) -> dict[str, Any]:
        """Returns the plan as values that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Returns the plan that `to_document` described."""
        snapshot = dict(document["snapshot"])
        epoch = Epoch(**snapshot.pop("epoch"))
        return cls(
            sequence=document["sequence"],
            snapshot=SourceSnapshot(**snapshot, epoch=epoch),
            tables=tuple(TablePlan.from_document(entry) for entry in document["tables"]),
            warnings=tuple(document["warnings"]),
            not_taken=document["not_taken"],
            starts_over=document["starts_over"],
            distrusts_counters=document["distrusts_counters"],
        )
