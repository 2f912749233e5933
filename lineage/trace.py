"""The life of one row: what raw zone, lake, warehouse and source say of it, put together.

The raw zone decides which versions there are. What lake and warehouse have is compared with them. A
part that cannot be reached is named, and the others are shown all the same.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg
import pyarrow as pa
from botocore.exceptions import BotoCoreError, ClientError
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchIcebergTableError
from pyiceberg.io import load_file_io

from lambdas.ingest.failures import TableFailure
from lambdas.ingest.scope import Scope
from lineage.keys import read_key
from lineage.lake_history import LakeHistory, LakeSnapshot
from lineage.raw_history import RawHistory, RawRow, Seen
from lineage.source_now import made_now
from lineage.star_rows import Made
from lineage.values import Content, changes, content_of, text_of
from lineage.warehouse_history import (
    Load,
    WaitingRow,
    WarehouseRows,
    read_referenced,
    read_warehouse,
)
from pipeline import warehouse_schema
from pipeline.database import Role
from pipeline.errors import PipelineError, first_line
from pipeline.manifest import ManifestStore
from star_schema.tables import StarTable, star_table

_UNREACHABLE = (
    PipelineError,
    TableFailure,
    psycopg.Error,
    ClientError,
    BotoCoreError,
    OSError,
)
_UNREADABLE = (NoSuchIcebergTableError, pa.ArrowException, LookupError, ValueError)
"""What libraries raise for an object that is not as it should be."""
_LONGEST_STATEMENT = "30s"
"""A lock of somebody else at the warehouse ends in words, not in a trace that never ends."""


class Parts(Protocol):
    """The parts of a stack, as lineage.places has them."""

    @property
    def raw_bucket(self) -> str:
        """The raw bucket."""

    @property
    def glue_database(self) -> str:
        """The star schema's Glue database."""

    @property
    def scope(self) -> Scope:
        """What is captured of the source."""

    def store(self) -> ManifestStore:
        """Returns the manifests."""

    def catalog(self) -> Catalog:
        """Returns the Glue Data Catalog."""

    def connect(self, role: Role) -> psycopg.Connection:
        """Opens a connection to one of the databases."""


@dataclass
class Step:
    """One thing that happened to the row.

    Attributes:
        sequence: The run.
        event: inserted, changed, deleted, returned; or held back, where the run made no version.
        run_id: The execution that made the run.
        snapshot_at: The instant that the run shows of the source.
        content: The star row of this version; a deletion has the content before it.
        changes: The columns that differ from the version before, with both values.
        reasons: Why the row is held back.
        capture: How the run captured the row's table.
        raw: Where the raw zone has the row.
        keys: The files that lack the row's key.
        joined: The rows that the row is made of besides: source, key, and the run of their capture.
        again_in: The runs that captured the same content again.
        record_id: The version's number in a fact.
        snapshot: The lake's first snapshot with the version.
        load: The load that showed the version.
        waited: What the version waited for before it was shown.
        waiting: Why the version is still waiting in the warehouse.
        remarks: What is not as it should be, or is no longer known.
    """

    sequence: int
    event: str
    run_id: str = ""
    snapshot_at: str = ""
    content: Content = field(default_factory=dict)
    changes: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    capture: str = ""
    raw: RawRow | None = None
    keys: tuple[str, ...] = ()
    joined: tuple[tuple[str, str, int], ...] = ()
    again_in: list[int] = field(default_factory=list)
    record_id: str = ""
    snapshot: LakeSnapshot | None = None
    load: Load | None = None
    waited: tuple[str, ...] = ()
    waiting: WaitingRow | None = None
    remarks: list[str] = field(default_factory=list)

    @property
    def is_version(self) -> bool:
        """Whether the step made a version."""
        return self.event != HELD_BACK

    @property
    def is_deleted(self) -> bool:
        """Whether the version is a deletion."""
        return self.event == "deleted"


@dataclass(frozen=True)
class Referenced:
    """A dimension row that the current version refers to.

    Attributes:
        column: The fact's column.
        table: The dimension.
        key: The dimension row's key.
        state: present, deleted or missing in the warehouse.
    """

    column: str
    table: str
    key: str
    state: str


@dataclass
class Trace:
    """The life of a row.

    Attributes:
        table: The star table.
        natural_key: The name of its natural key.
        key: The row's key.
        steps: What happened, the oldest first.
        references: What the current version refers to.
        source_now: What the source has now, in words.
        equals_source: Whether the warehouse shows that; None if that is not known.
        differences: The columns that differ: in the source, and in the warehouse.
        not_reached: The parts that could not be reached, with the reason.
    """

    table: str
    natural_key: str
    key: str
    steps: list[Step] = field(default_factory=list)
    references: list[Referenced] = field(default_factory=list)
    source_now: str = "unknown"
    equals_source: bool | None = None
    differences: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    not_reached: dict[str, str] = field(default_factory=dict)


HELD_BACK = "held back"


def trace(table: str, key: str, parts: Parts) -> Trace:
    """Follows a row through all parts of a stack. Nothing is written.

    Args:
        table: A star table.
        key: The row's natural key.
        parts: Where the parts are.

    Raises:
        DeclarationInvalid: There is no such star table.
        InvalidInput: The key is not one that the table can have.
    """
    star = star_table(table)
    return _Tracing(star, read_key(star, key), parts).result()


class _Tracing:
    def __init__(self, star: StarTable, key: str, parts: Parts) -> None:
        self._star = star
        self._key = key
        self._parts = parts
        self._trace = Trace(star.name, star.natural_key, key)
        self._steps = self._trace.steps

    def result(self) -> Trace:
        with self._reaching("raw zone"):
            if self._star.row_source:
                self._steps += _steps(self._raw(self._star, self._key).seen())
        with self._reaching("lake"):
            self._add_lake()
        shown, is_known = None, False
        with self._reaching("warehouse"), self._parts.connect(Role.WAREHOUSE) as warehouse:
            warehouse.execute(
                "select pg_catalog.set_config('statement_timeout', %s, false)", [_LONGEST_STATEMENT]
            )
            warehouse_schema.enter(warehouse.cursor())
            shown, is_known = self._add_warehouse(warehouse), True
        with self._reaching("source"):
            self._compare_source(shown, is_known=is_known)
        return self._trace

    @contextmanager
    def _reaching(self, part: str) -> Iterator[None]:
        try:
            yield
        except _UNREACHABLE as error:
            self._trace.not_reached[part] = first_line(error)
        except _UNREADABLE as error:
            self._trace.not_reached[part] = f"{type(error).__name__}: {first_line(error)}"

    def _raw(self, star: StarTable, key: str) -> RawHistory:
        bucket = self._parts.raw_bucket
        io = load_file_io(self._parts.catalog().properties, f"s3://{bucket}")
        return RawHistory(self._parts.store(), io, star, key)

    def _versions(self) -> list[Step]:
        return [step for step in self._steps if step.is_version]

    def _step(self, row: Mapping[str, Any], place: str) -> Step:
        """Returns the step of a version that a part has; a new one if the raw zone has none."""
        sequence, is_deleted = row["_sequence"], bool(row["is_deleted"])
        for step in self._versions():
            if (step.sequence, step.is_deleted) == (sequence, is_deleted):
                if different := changes(step.content, content_of(row, self._star.selected)):
                    step.remarks.append(f"{place} has {_pairs(different)}")
                return step
        step = Step(sequence, "deleted" if is_deleted else "inserted", run_id=row["run_id"])
        step.content = content_of(row, self._star.selected)
        if self._star.row_source and "raw zone" not in self._trace.not_reached:
            step.remarks.append(f"{place} has this version, and the raw zone does not explain it")
        self._steps.append(step)
        self._steps.sort(key=lambda one: (one.sequence, one.is_deleted))
        return step

    def _add_lake(self) -> None:
        lake = LakeHistory(self._parts.catalog(), self._parts.glue_database, self._star, self._key)
        rows = lake.rows()
        for row in rows:
            step = self._step(row, "the lake")
            step.record_id = str(row[self._star.record_id]) if self._star.record_id else ""
        current = {(row["_sequence"], bool(row["is_deleted"])) for row in rows}
        for step in self._versions():
            step.snapshot = lake.first_snapshot(step.sequence, is_deleted=step.is_deleted)
            if step.snapshot is None:
                step.remarks.append(
                    "the lake's snapshots with this version have expired, or it was never built"
                    if not self._star.is_fact
                    else "the lake does not have this version"
                )
            elif self._star.is_fact and (step.sequence, step.is_deleted) not in current:
                step.remarks.append("the lake has this version in older snapshots only")
        quarantined = {row["_sequence"] for row in lake.quarantined()}
        for step in self._steps:
            if step.reasons and self._star.is_fact and step.sequence in quarantined:
                step.remarks.append("in the lake's quarantine")

    def _add_warehouse(self, connection: psycopg.Connection) -> Mapping[str, Any] | None:
        """Adds what the warehouse has; returns the newest version that it shows."""
        ids = [step.record_id or self._key for step in self._versions()]
        held = read_warehouse(connection, self._star, self._key, ids)
        for step in self._versions():
            self._add_load(step, held)
        shown = held.rows[-1] if held.rows else None
        if shown and held.table:
            for one in held.table.references:
                self._add_reference(connection, one, text_of(shown[one.column]))
        return shown

    def _add_reference(self, connection: psycopg.Connection, one: Any, value: str | None) -> None:
        if value is not None:
            row = read_referenced(connection, one, value)
            state = "missing" if row is None else "deleted" if row["is_deleted"] else "present"
            self._trace.references.append(Referenced(one.column, one.table, value, state))

    def _add_load(self, step: Step, held: WarehouseRows) -> None:
        """Finds the load that showed a version, or says why there is none."""
        is_last = step is self._versions()[-1]
        if self._star.is_fact or is_last:
            step.waiting = held.waiting.get(step.record_id or self._key)
        row = next((row for row in held.rows if self._is_of(row, step)), None)
        step.load = held.loaded_by(step.sequence)
        if row is None:
            is_replaced = not self._star.is_fact and not is_last
            if step.load is None:
                step.remarks.append(f"the warehouse is loaded through run {held.position}")
            elif not step.waiting and not is_replaced:
                step.remarks.append("the warehouse does not have this version")
            if step.waiting:
                step.load = None
            return
        if not self._star.is_fact:
            step.waiting = None
        if different := changes(step.content, content_of(row, self._star.selected)):
            step.remarks.append(f"the warehouse has {_pairs(different)}")
        written = held.written_by(row)
        if step.load and written and written.sequence > step.load.sequence:
            step.waited = tuple(self._awaited(step, held, step.load))
            step.load = written

    def _is_of(self, row: Mapping[str, Any], step: Step) -> bool:
        """Whether a row of the warehouse is a version."""
        if self._star.record_id and step.record_id:
            return str(row[self._star.record_id]) == step.record_id
        return (row["run_id"], row["is_deleted"]) == (step.run_id, step.is_deleted)

    def _awaited(self, step: Step, held: WarehouseRows, first: Load) -> Iterator[str]:
        """Yields the dimension rows that came later than the load that first had the version."""
        for one in held.table.references if held.table else ():
            value = step.content.get(one.column)
            dimension = star_table(one.table)
            if value is None or dimension.row_source is None:
                continue
            for seen in self._raw(dimension, value).seen():
                if seen.made and seen.made.content:
                    if seen.run.sequence > first.sequence:
                        yield f"{one.table} {value}, which came with run {seen.run.sequence}"
                    break
            else:
                yield f"{one.table} {value}"

    def _compare_source(self, shown: Mapping[str, Any] | None, *, is_known: bool) -> None:
        if self._star.row_source is None:
            self._trace.source_now = "no row of the source: the table is computed"
            return
        with self._parts.connect(Role.SOURCE) as source:
            now = made_now(source, self._parts.scope, self._star, self._key)
        said = self._trace
        is_shown = shown is not None and not shown["is_deleted"]
        if now is None:
            said.source_now = "the source has no such row"
            said.equals_source = not is_shown if is_known else None
        elif now.content is None:
            said.source_now = "; ".join(_reasons(now))
        else:
            said.source_now = "the source has the row"
            current = content_of(shown or {}, self._star.selected)
            said.differences = changes(current, now.content) if is_shown else {}
            said.equals_source = is_shown and not said.differences if is_known else None


def _steps(seen: Iterator[Seen]) -> Iterator[Step]:
    """Yields what the runs made of a row, by the rule that decides the Build's versions."""
    before: Step | None = None
    last: Step | None = None
    for one in seen:
        if one.raw or one.not_held:
            step = _step_of(one, before)
            same = _same(step, before, last)
            if same:
                same.again_in.append(one.run.sequence)
            else:
                yield step
                last, before = step, step if step.is_version else before
        if one.is_gone and before and not before.is_deleted:
            before = last = _of_run(
                Step(one.run.sequence, "deleted", content=before.content, keys=one.keys), one
            )
            yield before


def _same(step: Step, before: Step | None, last: Step | None) -> Step | None:
    """Returns the step that a step repeats: a version, or what held the row back just before."""
    if step.is_version:
        repeats = before and not before.is_deleted and before.content == step.content
        return before if repeats else None
    return last if last and not last.is_version and last.reasons == step.reasons else None


def _step_of(seen: Seen, before: Step | None) -> Step:
    step = _of_run(Step(seen.run.sequence, HELD_BACK), seen)
    if seen.not_held or seen.made is None or seen.made.content is None:
        step.reasons = (seen.not_held,) if seen.not_held else tuple(_reasons(seen.made))
        return step
    step.content = seen.made.content
    states = dict(seen.joined)
    step.joined = tuple((one, key, states.get(one, 0)) for one, key in seen.made.joined)
    if before is None:
        step.event = "inserted"
    else:
        step.event = "returned" if before.is_deleted else "changed"
        step.changes = changes(before.content, step.content)
    return step


def _of_run(step: Step, seen: Seen) -> Step:
    step.run_id, step.snapshot_at = seen.run.run_id, seen.run.snapshot_at
    step.capture, step.raw = seen.capture, seen.raw
    return step


def _reasons(made: Made | None) -> Iterator[str]:
    if made is None:
        return
    if made.failure:
        yield f"the SELECT fails: {made.failure}"
    for rule in made.broken_rules:
        yield f"it breaks the rule: {rule}"
    if not made.failure and not made.broken_rules and made.content is None:
        yield "the SELECT gives no row: a row that it joins is missing"


def _pairs(different: Mapping[str, tuple[str | None, str | None]]) -> str:
    return ", ".join(
        f"{name} {value!r} for {before!r}" for name, (before, value) in different.items()
    )
