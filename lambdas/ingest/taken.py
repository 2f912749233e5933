"""What reading a part of a table gives: rows, values that were set aside, and their files."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from lambdas.ingest.key_count import KeyCount
from pipeline.written_files import Written

FIRST = ""
"""The invocation that made the plan: what it reads is in the snapshot of the plan."""


@dataclass(frozen=True)
class Taken:
    """The rows read from a part of a table. Two parts add up to the larger part.

    Attributes:
        rows: Number of rows written.
        not_held: Number of values that cannot be read, or that their raw type cannot hold. They
            are written to the quarantine.
        files: Keys of the Parquet files of the rows, in the raw bucket.
        written: What was written as each of `files`.
        count: What a count of all its rows gave; None if they were not counted.
        unreadable: Number of rows that the source cannot send; their values are among `not_held`.
        quarantine_files: Keys of the Parquet files of the values in the quarantine.
        invocations: Invocations of the run that read the part: FIRST, or names of later ones.
    """

    rows: int = 0
    not_held: int = 0
    files: tuple[str, ...] = ()
    written: tuple[Written, ...] = ()
    quarantine_files: tuple[str, ...] = ()
    unreadable: int = 0
    count: KeyCount | None = None
    invocations: frozenset[str] = frozenset()

    def __add__(self, other: Self) -> Self:
        return type(self)(
            rows=self.rows + other.rows,
            not_held=self.not_held + other.not_held,
            files=self.files + other.files,
            written=self.written + other.written,
            quarantine_files=self.quarantine_files + other.quarantine_files,
            unreadable=self.unreadable + other.unreadable,
            count=self.count + other.count
            if self.count and other.count
            else self.count or other.count,
            invocations=self.invocations | other.invocations,
        )

    def to_document(self) -> dict[str, Any]:
        """Returns the fields as values that JSON can hold."""
        return {**dataclasses.asdict(self), "invocations": sorted(self.invocations)}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Returns what `to_document` described."""
        return cls(
            rows=document["rows"],
            not_held=document["not_held"],
            files=tuple(document["files"]),
            written=tuple(Written(**one) for one in document["written"]),
            quarantine_files=tuple(document["quarantine_files"]),
            unreadable=document["unreadable"],
            count=document["count"] and KeyCount.from_document(document["count"]),
            invocations=frozenset(document["invocations"]),
        )
