"""A lake where something happens while it is read."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from lambdas.load.catalog import WarehouseTable
from lambdas.load.lake import Lake, Position, Versions


def nothing(*_: object) -> None:
    """What happens where nothing is to happen."""


@dataclass(frozen=True)
class _DisturbedVersions(Versions):
    at_batch: Callable[[], object] = nothing
    at_end: Callable[[], object] = nothing

    def batches(self, start: Position = Position()) -> Iterator[tuple[Position, pa.RecordBatch]]:  # noqa: B008
        for position, batch in super().batches(start):
            self.at_batch()
            yield position, batch
        self.at_end()


@dataclass(frozen=True)
class DisturbedLake(Lake):
    """A lake where something happens as rows are read.

    Attributes:
        table: The table whose end matters.
        at_end: Is called when all rows of that table have been read.
        at_batch: Is called before each batch of any table.
    """

    table: str = ""
    at_end: Callable[[], object] = nothing
    at_batch: Callable[[], object] = nothing

    @classmethod
    def of(
        cls,
        lake: Lake,
        table: str = "",
        *,
        at_end: Callable[[], object] = nothing,
        at_batch: Callable[[], object] = nothing,
    ) -> "DisturbedLake":
        """Returns a lake, disturbed."""
        return cls(lake.catalog, lake.database, table=table, at_end=at_end, at_batch=at_batch)

    def versions(self, table: WarehouseTable, *, after: int, through: int) -> Versions:
        """Looks up versions whose reading disturbs."""
        held = super().versions(table, after=after, through=through)
        return _DisturbedVersions(
            **{field.name: getattr(held, field.name) for field in dataclasses.fields(held)},
            at_batch=self.at_batch,
            at_end=self.at_end if table.name == self.table else nothing,
        )
