"""What follows from tables that a run could not capture: a metric, and for some a failure."""

from collections.abc import Iterable, Mapping

from aws_lambda_powertools.metrics import MetricUnit, single_metric

from pipeline.answers import Failure
from pipeline.requests import IngestRequest
from star_schema.tables import StarTable


def failure(
    request: IngestRequest, reasons: Mapping[str, str], stars: Iterable[StarTable]
) -> Failure | None:
    """Returns why the execution has to fail after the load, or None.

    Args:
        request: What was asked of Ingest.
        reasons: Why each table was not captured.
        stars: The star tables.
    """
    waiting = [star.name for star in stars if reasons.keys() & set(star.sources)]
    needed = {source for star in stars for source in star.sources}
    asked = _asked(request, reasons)
    told = needed | asked
    causes = [f"{table}: {reason}" for table, reason in reasons.items() if table in told]
    if not causes:
        return None
    consequences = ["all other tables were captured and loaded"]
    if waiting:
        consequences.append(f"{', '.join(waiting)} wait for the next run that captures them")
    if request.verify:
        consequences.append("source and warehouse are not proved equal")
    if request.full_refresh and asked:
        consequences.append(f"full_refresh is not complete: it lacks {len(asked)} of its tables")
    return Failure(
        "TablesNotTaken",
        f"{len(causes)} tables could not be captured. {'; '.join(consequences)}. "
        + "; ".join(causes),
    )


def put_metric(number: int, namespace: str) -> None:
    """Puts the number of the tables into CloudWatch, by the function's log."""
    with single_metric(
        name="TablesNotTaken",
        unit=MetricUnit.Count,
        value=number,
        namespace=namespace,
        default_dimensions={"service": "ingest"},
    ):
        pass


def _asked(request: IngestRequest, reasons: Mapping[str, str]) -> set[str]:
    """Returns the tables whose capture the input asked for by `verify` or `full_refresh`."""
    if request.verify or request.full_refresh is True:
        return set(reasons)
    return set() if request.full_refresh is False else reasons.keys() & set(request.full_refresh)
