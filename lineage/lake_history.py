"""A row in the lake: its versions, and the Iceberg snapshot that first had each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot, ancestors_of
from pyiceberg.types import IntegerType, LongType

from pipeline.applied_run import APPLIED_THROUGH
from star_schema.quarantine import QUARANTINE
from star_schema.tables import StarTable


@dataclass(frozen=True)
class LakeSnapshot:
    """A snapshot of an Iceberg table.

    Attributes:
        snapshot_id: Its id.
        committed_at_ms: When it was committed, in milliseconds since the epoch.
        is_first: Whether it is known to be the first with the row; an earlier one may have expired.
    """

    snapshot_id: int
    committed_at_ms: int
    is_first: bool


class LakeHistory:
    """The history of one key of a star table in the lake.

    Args:
        catalog: The Glue Data Catalog.
        database: The star schema's Glue database.
        star: The star table.
        key: The natural key, as text.
    """

    def __init__(self, catalog: Catalog, database: str, star: StarTable, key: str) -> None:
        self._catalog = catalog
        self._database = database
        self._star = star
        self._key = key
        self._table = self._loaded(star.name)
        self._rows_of: dict[int, list[dict[str, Any]]] = {}
        self._ancestors: list[Snapshot] = []
        current = self._table.current_snapshot() if self._table else None
        if self._table and current:
            self._ancestors = [*ancestors_of(current, self._table.metadata)][::-1]

    def rows(self) -> list[dict[str, Any]]:
        """Returns the row's versions as the lake has them now."""
        return self._rows(self._ancestors[-1]) if self._ancestors else []

    def first_snapshot(self, sequence: int, *, is_deleted: bool) -> LakeSnapshot | None:
        """Returns the first snapshot, among those that are kept, with the version of a run."""
        for snapshot in self._ancestors:
            if _applied_through(snapshot) < sequence:
                continue
            for row in self._rows(snapshot):
                if row["_sequence"] == sequence and row["is_deleted"] == is_deleted:
                    is_first = self._is_first(snapshot, sequence)
                    return LakeSnapshot(snapshot.snapshot_id, snapshot.timestamp_ms, is_first)
        return None

    def quarantined(self) -> list[Mapping[str, Any]]:
        """Returns what the quarantine has of the row."""
        table = self._loaded(QUARANTINE)
        if table is None:
            return []
        condition = f"star_table = '{self._star.name}' and natural_key = {_quoted(self._key)}"
        rows: list[Mapping[str, Any]] = table.scan(row_filter=condition).to_arrow().to_pylist()
        return rows

    def _is_first(self, snapshot: Snapshot, sequence: int) -> bool:
        """Whether no older snapshot can have had the version."""
        if snapshot is not self._ancestors[0] or snapshot.sequence_number == 1:
            return True
        summary = snapshot.summary
        adds = summary is not None and summary.operation is not Operation.REPLACE
        added = (summary.additional_properties if summary else {}).get("added-records", "0")
        return adds and added != "0" and _applied_through(snapshot) == sequence

    def _rows(self, snapshot: Snapshot) -> list[dict[str, Any]]:
        if snapshot.snapshot_id not in self._rows_of and self._table:
            kind = self._table.schema().find_field(self._star.natural_key).field_type
            is_number = isinstance(kind, IntegerType | LongType)
            wanted = self._key if is_number else _quoted(self._key)
            condition = f"{self._star.natural_key} = {wanted}"
            scan = self._table.scan(row_filter=condition, snapshot_id=snapshot.snapshot_id)
            self._rows_of[snapshot.snapshot_id] = scan.to_arrow().to_pylist()
        return self._rows_of[snapshot.snapshot_id]

    def _loaded(self, name: str) -> Table | None:
        try:
            return self._catalog.load_table((self._database, name))
        except NoSuchTableError:
            return None


def _quoted(key: str) -> str:
    return "'" + key.replace("'", "''") + "'"


def _applied_through(snapshot: Snapshot) -> int:
    properties = snapshot.summary.additional_properties if snapshot.summary else {}
    return int(properties.get(APPLIED_THROUGH, "0"))
