"""The manifest of a run: the commit record of the raw zone, and the only home of the cursor.

A run exists from the moment its manifest `runs/<sequence>.json` is written, by a conditional PUT
that fails when the sequence is already there. The newest manifest has the cursor of every table: an
entry, or, for a table that has not changed since, the sequence of the manifest that has its entry.
`changed_in` and `previous_change` chain a table's captures, so that a reader finds its changes
since any point without listing the bucket.
"""

import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Self

from pipeline.errors import ManifestInvalid, ObjectMissing, RunConflict
from pipeline.object_store import ObjectStore
from pipeline.written_files import Written

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FORMAT = 2
_FORMATS = (1, FORMAT)
"""Formats that can be read. A manifest of format 1 has the entry of every table."""
MOST_HOMES = 8
"""How many earlier manifests may have entries of a manifest: a reader of all tables reads them."""
READ_AT_ONCE = 10
"""How many manifests are read side by side: as many as botocore keeps connections."""
_AHEAD = 4
"""How many runs are read ahead for each that was of the chain since the last time."""
_MOST_AHEAD = 1000
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
        configured_at: When the server last loaded its configuration, likewise; empty in a manifest
            that was written before this field existed.
    """

    database_oid: int
    started_at: str
    statistics_reset_at: str | None
    log_position: int
    configured_at: str = ""

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
            with their number, as of this capture; None if none could be computed.
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
        greatest_keys: If these keys are integers, the greatest of them, and the greatest that was
            written before `horizon`.
        printed_names: A digest of the names of objects that the table's values may print, such as
            those of `regclass`; empty if its types print none.
        starts_over: Whether the next run has to capture the table whole, as the cursor cannot be
            compared with the source any more.
        written: What was written as each of `files`; empty in a manifest that was written before
            this field existed.
        keys_written: Likewise of `key_files`.
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
    greatest_keys: tuple[int, ...] = ()
    printed_names: str = ""
    written: tuple[Written, ...] = ()
    keys_written: tuple[Written, ...] = ()

    @property
    def keys(self) -> int:
        """The number in `content_digest`, "version:number:digest"; 0 if there is none."""
        return int(self.content_digest.split(":")[-2]) if self.content_digest else 0

    @property
    def written_files(self) -> dict[str, Written]:
        """What was written as each of `files`, as far as the manifest has it."""
        return _by_key(self.files, self.written)

    @property
    def written_key_files(self) -> dict[str, Written]:
        """What was written as each of `key_files` likewise."""
        return _by_key(self.key_files, self.keys_written)

    def unchanged(self) -> Self:
        """Returns the entry of a later run that does not find the table changed."""
        return dataclasses.replace(
            self,
            capture=Capture.NONE,
            rows=0,
            files=(),
            key_files=(),
            not_held=0,
            quarantine_files=(),
            keys_swept=False,
            written=(),
            keys_written=(),
        )


def _by_key(files: tuple[str, ...], written: tuple[Written, ...]) -> dict[str, Written]:
    return dict(zip(files, written or (Written(),) * len(files), strict=True))


class CarriedTables(Mapping[str, TableCapture]):
    """The tables of a manifest by name, where earlier manifests have the entries of some.

    Args:
        own: The entries that the manifest has.
        homes: For each other table, the sequence of the manifest that has its entry.
        read: Returns a manifest.
    """

    def __init__(
        self,
        own: Mapping[str, TableCapture],
        homes: Mapping[str, int],
        read: Callable[[int], "Manifest"],
    ) -> None:
        self.own = own
        self.homes = homes
        self._read = read

    def __getitem__(self, name: str) -> TableCapture:
        home = self.homes.get(name)
        return self.own[name] if home is None else self._read(home).tables[name].unchanged()

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self.homes

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self.own, *self.homes}))

    def __len__(self) -> int:
        return len(self.own) + len(self.homes)


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
        horizon: The oldest transaction that was in progress at the snapshot; 0 in a manifest that
            was written before this field existed.
        epoch: The server's epoch; None in a manifest that was written before this field existed.
        gone: For each table that the source had and no longer has, the newest sequence that holds
            rows or keys of it. If the table returns, its chain goes on from there.
    """

    sequence: int
    run_id: str
    snapshot_at: str
    system_identifier: str
    next_transaction: int
    tables: Mapping[str, TableCapture]
    horizon: int = 0
    epoch: Epoch | None = None
    gone: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> str:
        """Returns the manifest as JSON text, which ends with a digest of the rest of it."""
        own, homes = self.tables, {}
        if isinstance(self.tables, CarriedTables):
            own, homes = self.tables.own, dict(self.tables.homes)
        tables = {name: _document(entry) for name, entry in own.items()}
        fields = dataclasses.asdict(dataclasses.replace(self, tables={}))
        document = {"format": FORMAT, **fields, "tables": tables, "carried": homes}
        text = json.dumps(document, separators=(",", ":"))
        return text[:-1] + _seal(text.encode())

    @classmethod
    def from_json(
        cls, text: str | bytes, key: str, read: Callable[[int], "Manifest"]
    ) -> "Manifest":
        """Reads a manifest.

        Args:
            text: What `to_json` gave.
            key: The object's key, for the error's message.
            read: Returns another manifest, by its sequence.

        Raises:
            ManifestInvalid: The text is no manifest of a format that this code knows, or is not as
                it was written. A manifest of an earlier version has no digest.
        """
        try:
            document: dict[str, Any] = json.loads(text)
            if document.pop(_DIGEST, None) is not None and not _is_as_written(text):
                raise ManifestInvalid(
                    f"{key} was edited since Ingest wrote it: restore the object's previous version"
                )
            if document.pop("format") not in _FORMATS:
                raise ManifestInvalid(f"{key} is of another format than {FORMAT}: deploy its code")
            own = {name: _table(entry) for name, entry in document.pop("tables").items()}
            homes, epoch = document.pop("carried", {}), document.pop("epoch", None)
            tables = CarriedTables(own, homes, read)
            return cls(tables=tables, epoch=Epoch(**epoch) if epoch else None, **document)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ManifestInvalid(
                f"{key} is not a manifest that this version of the pipeline reads ({error}): if a "
                "newer version wrote it, deploy that version; otherwise restore the object's "
                "previous version, or delete the object if it has none"
            ) from error


_DIGEST = "sha256"
_SEAL_LENGTH = len(f',"{_DIGEST}":""}}') + 64


def _seal(text: bytes) -> str:
    """Returns the end of a document that has the digest of the rest of it, as JSON text."""
    return f',"{_DIGEST}":"{hashlib.sha256(text).hexdigest()}"}}'


def _is_as_written(text: str | bytes) -> bool:
    """Whether JSON text ends with the digest of the rest of it."""
    held = text.encode() if isinstance(text, str) else text
    rest, seal = held[:-_SEAL_LENGTH], held[-_SEAL_LENGTH:]
    return _seal(rest + b"}").encode() == seal


_OPTIONAL = {
    field.name: field.default
    for field in dataclasses.fields(TableCapture)
    if field.default is not dataclasses.MISSING
}
_LISTS = (
    "files",
    "key_files",
    "quarantine_files",
    "primary_key",
    "natural_key",
    "captured_transactions",
    "greatest_keys",
)
_SIZES = {"written": "file_sizes", "keys_written": "key_file_sizes"}
"""What earlier versions had instead: nothing but the files' sizes."""


def _document(entry: TableCapture) -> dict[str, Any]:
    """Returns an entry as values that JSON can hold, without those that are as by default."""
    fields = dataclasses.asdict(entry)
    return {
        name: value
        for name, value in fields.items()
        if name not in _OPTIONAL or value != _OPTIONAL[name]
    }


@cache
def _column(name: str, source_type: str, raw_type: str) -> Column:
    """Returns a column once: thousands of manifests have the same."""
    return Column(name, source_type, raw_type)


def _table(entry: dict[str, Any]) -> TableCapture:
    fields = dict(entry)
    fields["capture"] = Capture(fields["capture"])
    fields["columns"] = tuple(_column(**column) for column in fields["columns"])
    fields["statistics"] = Statistics(**fields["statistics"])
    for name in _LISTS:
        fields[name] = tuple(fields.get(name, ()))
    for name, sizes in _SIZES.items():
        earlier = tuple(map(Written, fields.pop(sizes, ())))
        fields[name] = tuple(Written(**one) for one in fields.get(name, ())) or earlier
    return TableCapture(**fields)


def key_of(sequence: int) -> str:
    """Returns the object key of a run's manifest: keys sort as sequences do."""
    return f"{RUNS_PREFIX}{sequence:010d}.json"


def sequence_of(key: str) -> int:
    """Returns the run of a manifest's object key; 0 if it is none of a manifest."""
    match = _KEY.fullmatch(key)
    return int(match[1]) if match else 0


class ManifestStore:
    """The manifests in the raw bucket.

    Attributes:
        objects: The raw bucket.
    """

    def __init__(self, bucket: str, client: "S3Client") -> None:
        self.objects = ObjectStore(bucket, client)
        self._read: dict[int, Manifest] = {}

    def newest(self, since: int = 0) -> Manifest | None:
        """Returns the newest committed run, or None where there is none.

        Args:
            since: A sequence known to be committed: the listing starts there.

        Raises:
            ObjectStoreUnavailable: Amazon S3 did not answer.
        """
        start = key_of(since) if since else ""
        found = (sequence_of(entry.key) for entry in self.objects.keys(RUNS_PREFIX, start))
        newest = max(found, default=0) or since
        return self.read(newest) if newest else None

    def has_later(self, sequence: int) -> bool:
        """Returns whether a run after this one has been committed, by another execution then.

        Raises:
            ObjectStoreUnavailable: Amazon S3 did not answer.
        """
        later = self.objects.keys(RUNS_PREFIX, key_of(sequence))
        return any(sequence_of(entry.key) > sequence for entry in later)

    def read(self, sequence: int) -> Manifest:
        """Returns the manifest of a committed run.

        Raises:
            ManifestInvalid: There is no such manifest, or it cannot be read.
            ObjectStoreUnavailable: Amazon S3 did not answer.
        """
        if sequence not in self._read:
            key = key_of(sequence)
            try:
                text = self.objects.get(key)
            except ObjectMissing as error:
                raise ManifestInvalid(
                    f"{self.objects.address(key)} is missing: restore it from its versions"
                ) from error
            found = Manifest.from_json(text, key, self.read)
            if found.sequence != sequence:
                raise ManifestInvalid(
                    f"{self.objects.address(key)} is a copy of the manifest of run "
                    f"{found.sequence}: if there was a run {sequence}, restore the object's "
                    "previous version, otherwise delete the object"
                )
            self._read[sequence] = found
        return self._read[sequence]

    def commit(self, manifest: Manifest, previous: Manifest | None = None) -> None:
        """Writes the manifest, which makes its run happen.

        Args:
            manifest: The manifest.
            previous: The newest manifest so far, to whose entries the written one refers.

        Raises:
            RunConflict: Another ingest has committed this sequence.
            ObjectStoreUnavailable: Amazon S3 did not answer.
        """
        if previous:
            tables = self._carried(manifest.tables, previous)
            manifest = dataclasses.replace(manifest, tables=tables)
        key, text = key_of(manifest.sequence), manifest.to_json().encode()
        if not self.objects.put_if_absent(key, text, "application/json"):
            raise RunConflict(
                f"another ingest committed run {manifest.sequence} while this one read: nothing of "
                "this one is visible; the next execution continues from the committed run"
            )
        self._read[manifest.sequence] = manifest

    def _carried(
        self, tables: Mapping[str, TableCapture], previous: Manifest
    ) -> Mapping[str, TableCapture]:
        """Returns tables with references for those that are as in the previous manifest."""
        before = previous.tables
        known = before.homes if isinstance(before, CarriedTables) else {}
        homes = {
            name: known.get(name, previous.sequence)
            for name, entry in tables.items()
            if name in before and entry == before[name].unchanged()
        }
        kept = {home for home, _ in Counter(homes.values()).most_common(MOST_HOMES)}
        homes = {name: home for name, home in homes.items() if home in kept}
        own = {name: entry for name, entry in tables.items() if name not in homes}
        return CarriedTables(own, homes, self.read)

    def changes(self, table: str, *, after: int, through: int) -> Iterator[Manifest]:
        """Yields the runs that hold rows or keys of a table, the newest first.

        Args:
            table: The source table.
            after: Only runs with a greater sequence.
            through: The newest run to look at.
        """
        return self._chain(table, after, through, ahead=0)

    def all_changes(self, table: str, *, after: int, through: int) -> tuple[Manifest, ...]:
        """Returns all that `changes` yields.

        Where the last runs were of the chain, more of the runs before are read ahead, side by side:
        at most four manifests for each of the chain.
        """
        return tuple(self._chain(table, after, through, ahead=_AHEAD))

    def _chain(self, table: str, after: int, through: int, *, ahead: int) -> Iterator[Manifest]:
        entry = self.read(through).tables.get(table) if through else None
        sequence = entry.changed_in if entry else 0
        used = 0
        while sequence > after:
            if sequence not in self._read:
                runs = min(ahead * used, _MOST_AHEAD)
                self._read_ahead(range(sequence, max(sequence - runs, after), -1))
                used = 0
            manifest = self.read(sequence)
            yield manifest
            used += 1
            sequence = manifest.tables[table].previous_change

    def _read_ahead(self, sequences: Iterable[int]) -> None:
        """Reads manifests side by side. One that cannot be read is left to who needs it."""
        unread = [sequence for sequence in sequences if sequence not in self._read]

        def read(sequence: int) -> None:
            with suppress(ManifestInvalid):
                self.read(sequence)

        with ThreadPoolExecutor(READ_AT_ONCE) as pool:
            for _ in pool.map(read, unread):
                pass
