"""Whether the source is still the server of the last run, and has not lost anything since.

Horizons, counters and digests are comparable only on one server that continues: docs/design.md,
"The same source". A restart that the statistics survived was a clean one; a crash discards them
(PostgreSQL documentation, "The Cumulative Statistics System").
"""

from enum import StrEnum

from lambdas.ingest.change_capture import counters_fell
from lambdas.ingest.discovery import Source, SourceSnapshot
from pipeline.manifest import Manifest

REREAD_LIMIT_BYTES = 10 * 1024**3
"""Size of a source from which a clean restart does not cause whole captures."""


class Continuity(StrEnum):
    """How the source has continued since the last run."""

    UNBROKEN = "unbroken"
    """It is the same server, and it has not been restarted."""
    RESTARTED = "restarted"
    """The server was restarted. Nothing shows that it lost anything."""
    BROKEN = "broken"
    """It is another server, or an earlier state of the same one, or its statistics were lost."""


def continuity(source: Source, previous: Manifest) -> Continuity:
    """Returns how the source has continued since a run."""
    snapshot, before = source.snapshot, previous.epoch
    if (
        snapshot.system_identifier != previous.system_identifier
        or snapshot.next_transaction < previous.next_transaction
    ):
        return Continuity.BROKEN
    if before is None or snapshot.epoch.identity == before.identity:
        went_back = before is not None and snapshot.epoch.log_position < before.log_position
        return Continuity.BROKEN if went_back else Continuity.UNBROKEN
    lost = (
        snapshot.epoch.database_oid != before.database_oid
        or snapshot.epoch.statistics_reset_at != before.statistics_reset_at
        or snapshot.epoch.log_position < before.log_position
        or _any_counter_fell(source, previous)
    )
    return Continuity.BROKEN if lost else Continuity.RESTARTED


def was_configured(snapshot: SourceSnapshot, previous: Manifest) -> bool:
    """Whether the server has loaded its configuration since a run.

    Its clock may have been set back since, so a later instant is not what tells it.
    """
    before = previous.epoch.configured_at if previous.epoch else ""
    if before:
        return snapshot.epoch.configured_at != before
    # Text of this form is in the order of time.
    return snapshot.epoch.configured_at > previous.snapshot_at


def _any_counter_fell(source: Source, previous: Manifest) -> bool:
    return any(
        counters_fell(previous.tables[table.name].statistics, source.statistics.get(table.oid))
        for table in source.tables
        if table.name in previous.tables
    )
