"""How many rows break which rule: rows that builds quarantined, and rows that wait."""

from collections import Counter
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from aws_lambda_powertools.metrics import MetricUnit, single_metric

from lambdas.load.lake import Lake
from lambdas.load.load import LoadResult
from lambdas.load.plan import COSTS_ITS_TABLE
from pipeline.answers import Failure
from pipeline.requests import LoadRequest

_RUNS: LiteralString = """
select key, (value ->> 'after')::bigint, (value ->> 'through')::bigint
from pipeline_run
cross join lateral pg_catalog.jsonb_each(tables)
where sequence = %s and value ->> 'run_id' = %s
"""

_WAITING: LiteralString = """
select table_name, reason ->> 'rule', pg_catalog.count(distinct key)
from waiting_row
cross join lateral pg_catalog.jsonb_array_elements(reasons) as reason
group by 1, 2
"""


@dataclass(frozen=True)
class BrokenRule:
    """A rule that rows break.

    Attributes:
        table: The star table that lacks the rows.
        rule: The rule as it is declared; or the reason for which rows wait in the warehouse.
        rows: The number of rows that break it.
    """

    table: str
    rule: str
    rows: int


@dataclass(frozen=True)
class Quality:
    """The rows that the warehouse does not show.

    Attributes:
        rows_quarantined: Source rows that the builds of the loaded runs put into the quarantine.
        broken_rules: The rules that those rows break, and that the rows in waiting_row break.
        failure: Why the quarantined rows could not be counted; None if they were.
    """

    rows_quarantined: int
    broken_rules: tuple[BrokenRule, ...]
    failure: Failure | None = None


def quality(connection: psycopg.Connection, lake: Lake, request: LoadRequest) -> Quality:
    """Counts the rows that the warehouse does not show, after a load.

    Args:
        connection: The warehouse.
        lake: The star schema.
        request: The load. A quarantined row counts in the execution whose load brought its star
            table through the row's run, and in no other one that loads the same run again.

    Raises:
        ObjectStoreUnavailable: The lake could not be read.
    """
    brought = connection.execute(_RUNS, [request.sequence, request.run_id])
    runs = {name: (after, last) for name, after, last in brought}
    broken, failure = _quarantined(lake, runs)
    rows: Counter[tuple[str, str]] = Counter(
        (table, rule) for table, them in broken for rule in them
    )
    for table, rule, count in connection.execute(_WAITING):
        rows[table, rule] += count
    rules = tuple(BrokenRule(*named, count) for named, count in sorted(rows.items()))
    return Quality(len(broken), rules, failure)


def _quarantined(
    lake: Lake, runs: dict[str, tuple[int, int]]
) -> tuple[list[tuple[str, tuple[str, ...]]], Failure | None]:
    """Returns the quarantined rows, or why they cannot be counted: the load stays as it is."""
    try:
        return list(lake.broken_rules(runs)), None
    except COSTS_ITS_TABLE as error:
        told = f"the star tables are loaded, but quarantined rows are not counted: {error}"
        return [], Failure(type(error).__name__, told)


def put_metrics(found: Quality, loaded: LoadResult, namespace: str) -> None:
    """Writes the metrics to the function's log, in CloudWatch's embedded metric format.

    Args:
        found: The rows that the warehouse does not show.
        loaded: The load.
        namespace: The metrics' namespace: RowsQuarantined, FactsWaiting and DimensionRowsWaiting by
            `service`, and RowsBreakingRule by `service`, `table` and `rule`.
    """
    service = {"service": "load"}
    totals = {
        "RowsQuarantined": found.rows_quarantined,
        "FactsWaiting": loaded.facts_waiting,
        "DimensionRowsWaiting": loaded.dimension_rows_waiting,
    }
    figures = [(name, rows, service) for name, rows in totals.items()]
    figures += [
        ("RowsBreakingRule", broken.rows, service | {"table": broken.table, "rule": broken.rule})
        for broken in found.broken_rules
    ]
    for name, rows, dimensions in figures:
        with single_metric(
            name=name,
            unit=MetricUnit.Count,
            value=rows,
            namespace=namespace,
            default_dimensions=dimensions,
        ):
            pass
