"""The manifest of a run: the commit record of the raw zone, and the only home of the cursor.

A run exists from the moment its manifest `runs/<sequence>.json` is written, by a conditional PUT
that fails when the sequence is already there. Each manifest holds the cursor of every table, so
the newest one is all that the next ingest needs; `changed_in` and `previous_change` chain a
table's captures, so that a reader finds its changes since any point without listing the bucket.
"""

import dataclasses
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pipeline.errors import ManifestInvalid, ObjectMissing, RunConflict
from pipeline.object_store import ObjectStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FORMAT = 1
RUNS_PREFIX = "runs/"
_KEY = re.compile(rf"{RUNS_PREFIX}(\d{{10}})\.json")


class Capture(StrEnum):
    """How a run took a table."""

    WHOLE = "whole"
    """Every row of the table: keys that are absent have been deleted."""
    CHANGES = "changes"
    """Rows written since the previous capture; deletions only if the keys were swept."""
    NONE = "none"
    """Nothing was read: the table had not changed."""


@dataclass(frozen=True)
class Column:
    """A column as the source had it at the time of the capture.

    Attributes:
        name: The column's name.
        source_type: PostgreSQL's own name of the type, with its modifier: `numeric(10,2)`.
        raw_type: The Arrow type of the raw file's column: `decimal128(10, 2)`.
    """

    name: str
    source_type: str
    raw_type: str


@dataclass(frozen=True)
class Statistics:
    """What the server counts for a table, read before the snapshot was taken.

    Equal statistics mean that no change has been reported since; a different `file_node` or
    `reset_at` means that the counters cannot be compared.
    """

    inserted: int
    updated: int
    deleted: int
    file_node: int
    reset_at: str | None


@dataclass(frozen=True)
class Epoch:
    """What identifies the source as one server that continues, besides its system identifier.

    Attributes:
        database_oid: The database's object identifier. A renamed copy has another one.
        started_at: When the server started, ISO 8601 in UTC.
        statistics_reset_at: When the server's statistics began. A crash discards them.
        log_position: Position in the write-ahead log, in bytes.
    """

    database_oid: int
    started_at: str
    statistics_reset_at: str | None
    log_position: int

    @property
    def identity(self) -> tuple[int, str, str | None]:
        """What stays the same as long as the server continues."""
        return self.database_oid, self.started_at, self.statistics_reset_at


@dataclass(frozen=True)
class TableCapture:
    """One table in one run's manifest.

    Attributes:
        capture: How this run took the table.
        rows: Rows in `files`.
        files: Keys of the Parquet files of this run's rows, in the raw bucket.
        key_files: Keys of the Parquet files that hold every primary key, if they were swept.
        not_held: How many values of this run their raw types cannot hold. The rows that they are
            of are in none of `files`; the values are in `quarantine_files`.
        quarantine_files: Keys of the Parquet files of those values.
        keys_swept: Whether `files` (of a whole capture) or `key_files` show every key there is,
            so that an absent key has been deleted. An empty table has neither file.
        columns: The columns of `files`, in the source's order.
        primary_key: The names of the key's columns; empty for a table without one.
        table_oid: The table's identity at the server: another one is another table.
        horizon: The oldest transaction (xid8) that was in progress when the table was last read.
        statistics: The server's counters as they stood before the table was last read.
        content_digest: An order-free digest of the table's keys (of its rows, if it has no key)
            with their number, or None where the table is too large to take one at every run.
        changed_in: The newest sequence, this one included, that holds rows or keys of the table.
        previous_change: The sequence before `changed_in` that does; 0 if there is none.
        natural_key: The columns that identify a row: the declared natural key, or the primary key
            of a table that has no declaration. Empty for a table without either, and in a
            manifest that was written before this field existed; `primary_key` holds then.
        not_taken: Why this run could not take the table, with what to do; empty if it could. The
            entry then has the cursor, the columns and the chain of the capture before, and no
            files. A table that was never taken has no entry.
        not_taken_since: The first of the runs in a row that could not take the table; 0 if this run
            could, and in a manifest that was written before this field existed.
        captured_transactions: Transactions (xid8) at or above `horizon` whose rows have been
            captured: the next run leaves them out.
        printed_names: A digest of the names of objects that the table's values may print, such as
            those of `regclass`; empty if its types print none.
        starts_over: Whether the next run has to capture the table whole, as the cursor cannot be
            compared with the source any more.
    """

    capture: Capture
    rows: int
    files: tuple[str, ...]
    key_files: tuple[str, ...]
    not_held: int
    quarantine_files: tuple[str, ...]
    keys_swept: bool
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    table_oid: int
    horizon: int
    statistics: Statistics
    content_digest: str | None
    changed_in: int
    previous_change: int
    natural_key: tuple[str, ...] = ()
    not_taken: str = ""
    not_taken_since: int = 0
    captured_transactions: tuple[int, ...] = ()
    starts_over: bool = False
    printed_names: str = ""


@dataclass(frozen=True)
class Manifest:
    """What one run put into the raw zone.

    Attributes:
        sequence: The run's number, from 1 without gaps: the order of all history.
        run_id: The name of the execution that made it.
        snapshot_at: The instant that all tables show, ISO 8601 with zone, by the source's clock.
        system_identifier: The source server's identity, as `pg_control_system()` or its
            nearest readable stand-in gives it.
        next_transaction: The first transaction (xid8) that had not begun at the snapshot.
        tables: Every table of the source by name, except those that were never taken.
        epoch: The server's epoch; None in a manifest that was written before this field existed.
        gone: For each table that the source had and no longer has, the newest sequence that holds
            rows or keys of it. If the table returns, its chain goes on from there.
    """

    sequence: int
    run_id: str
    snapshot_at: str
    system_identifier: str
    next_transaction: int
    tables: dict[str, TableCapture]
    epoch: Epoch | None = None
    gone: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> str:
        """Returns the manifest as JSON text."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes, key: str) -> "Manifest":
        """Reads a manifest.

        Args:
            text: What `to_json` gave.
            key: The object's key, for the error's message.

        Raises:
            ManifestInvalid: The text is no manifest of a format that this code knows.
        """
        try:
            document: dict[str, Any] = json.loads(text)
            if document.pop("format") != FORMAT:
                raise ManifestInvalid(f"{key} is of another format than {FORMAT}: deploy its code")
            tables = {name: _table(entry) for name, entry in document.pop("tables").items()}
            epoch = document.pop("epoch", None)
            return cls(tables=tables, epoch=Epoch(**epoch) if epoch else None, **document)
        except (ValueError, KeyError, TypeError) as error:
            raise ManifestInvalid(
                f"{key} is not a manifest ({error}): restore the object's previous version"
            ) from error


_LISTS = (
    "files",
    "key_files",
    "quarantine_files",
    "primary_key",
    "natural_key",
    "captured_transactions",
)


def _table(entry: dict[str, Any]) -> TableCapture:
    fields = dict(entry)
    fields["capture"] = Capture(fields["capture"])
    fields["columns"] = tuple(Column(**column) for column in fields["columns"])
    fields["statistics"] = Statistics(**fields["statistics"])
    for name in _LISTS:
        fields[name] = tuple(fields.get(name, ()))
    return TableCapture(**fields)


def key_of(sequence: int) -> str:
    """Returns the object key of a run's manifest: keys sort as sequences do."""
    return f"{RUNS_PREFIX}{sequence:010d}.json"


class ManifestStore:
    """The manifests in the raw bucket."""

    def __init__(self, bucket: str, client: "S3Client") -> None:
        self._objects = ObjectStore(bucket, client)
        self._read: dict[int, Manifest] = {}

    def newest(self, since: int = 0) -> Manifest | None:
        """Returns the newest committed run, or None where there is none.

        Args:
            since: A sequence known to be committed: the listing starts there.

        Raises:
            ObjectStoreUnavailable: Amazon S3 did not answer.
        """
        start = key_of(since) if since else ""
        found = (_KEY.fullmatch(entry.key) for entry in self._objects.keys(RUNS_PREFIX, start))
        newest = max((int(match[1]) for match in found if match), default=since)
        return self.read(newest) if newest else None

    def read(self, sequence: int) -> Manifest:
        """Returns the manifest of a committed run.

        Raises:
            ManifestInvalid: There is no such manifest, or it cannot be read.
            ObjectStoreUnavailable: Amazon S3 did not answer.
        """
        if sequence not in self._read:
            key = key_of(sequence)
            try:
                text = self._objects.get(key)
            except ObjectMissing as error:
                raise ManifestInvalid(
                    f"{self._objects.address(key)} is missing: restore it from its versions"
                ) from error
            self._read[sequence] = Manifest.from_json(text, key)
        return self._read[sequence]

    def commit(self, manifest: Manifest) -> None:
        """Writes the manifest, which makes its run happen.

        Raises:
            RunConflict: Another ingest has committed this sequence.
            ObjectStoreUnavailable: Amazon S3 did not answer.
        """
        key, text = key_of(manifest.sequence), manifest.to_json().encode()
        if not self._objects.put_if_absent(key, text, "application/json"):
            raise RunConflict(
                f"another ingest committed run {manifest.sequence} while this one read: nothing of "
                "this one is visible; the next execution continues from the committed run"
            )
        self._read[manifest.sequence] = manifest

    def changes(self, table: str, *, after: int, through: int) -> Iterator[Manifest]:
        """Yields the runs that hold rows or keys of a table, the newest first.

        Args:
            table: The source table.
            after: Only runs with a greater sequence.
            through: The newest run to look at.
        """
        entry = self.read(through).tables.get(table) if through else None
        sequence = entry.changed_in if entry else 0
        while sequence > after:
            manifest = self.read(sequence)
            yield manifest
            sequence = manifest.tables[table].previous_change
