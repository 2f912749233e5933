"""What an execution did, in a sentence for people."""

from collections.abc import Iterator

from lambdas.publish.observing import Observation
from pipeline.answers import Names
from pipeline.requests import PublishRequest


def message_of(request: PublishRequest, observed: Observation) -> str:
    """Returns what an execution did that loaded a run, or found nothing new."""
    warnings = request.ingested.warnings if request.ingested else Names()
    return "; ".join([*_told(request), *observed.told]) + "." + _warned(warnings)


def _told(request: PublishRequest) -> Iterator[str]:
    ingested, loaded = request.ingested, request.loaded
    if request.publishes and ingested and loaded:
        yield (
            f"Run {ingested.sequence}: {ingested.rows:,} rows captured, "
            f"{loaded.rows:,} written to the warehouse"
        )
    else:
        yield f"Nothing new since run {request.through}"
    if loaded and loaded.facts_waiting:
        yield f"{loaded.facts_waiting:,} facts wait for their dimension rows"
    if loaded and loaded.rows_quarantined:
        yield f"{loaded.rows_quarantined:,} source rows broke a rule"
    if loaded and loaded.tables_verified is not None:
        yield "the warehouse equals the source"


def _warned(warnings: Names) -> str:
    if not warnings.count:
        return ""
    more = f"; {warnings.count} in all" if warnings.count > len(warnings.first) else ""
    return f" Warnings: {'; '.join(warnings.first)}{more}."
