"""How fresh the warehouse is: the newest instant of the source that it shows completely."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.answers import IngestAnswer
from pipeline.manifest import Manifest, ManifestStore


@dataclass(frozen=True)
class Freshness:
    """How fresh the warehouse is.

    Attributes:
        data_as_of: The instant of the newest snapshot through which the warehouse is complete, by
            the source's clock.
        seconds: How long ago that was; 0 if the clocks disagree.
    """

    data_as_of: datetime
    seconds: float

    @classmethod
    def at(cls, data_as_of: datetime, now: datetime | None = None) -> "Freshness":
        """Returns the freshness now, or at another instant."""
        age = ((now or datetime.now(UTC)) - data_as_of).total_seconds()
        return cls(data_as_of, round(max(0.0, age), 1))


def complete_as_of(
    store: ManifestStore, ingested: IngestAnswer | None, through: int, sources: Iterable[str]
) -> datetime | None:
    """Returns the instant through which the warehouse is complete; None before the first load.

    A run that found nothing new counts: the warehouse shows all that its snapshot shows. A run that
    could not take a table does not, and neither do those after it, until one takes it.

    Args:
        store: The manifests.
        ingested: What this execution's Ingest found; None if it failed.
        through: The run through which every star table is loaded.
        sources: The tables that star tables need.
    """
    if not through:
        return None
    needed = frozenset(sources)
    run = store.read(through)
    if ingested and ingested.snapshot_at and ingested.sequence == through and _has_all(run, needed):
        return datetime.fromisoformat(ingested.snapshot_at)
    while not _has_all(run, needed):
        if run.sequence == 1:
            return None
        run = store.read(run.sequence - 1)
    return datetime.fromisoformat(run.snapshot_at)


def _has_all(run: Manifest, needed: frozenset[str]) -> bool:
    return all(name in run.tables and not run.tables[name].not_taken for name in needed)
