"""How many rows break which rule: what builds put aside, and what waits in the warehouse."""

from collections import Counter
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from aws_lambda_powertools.metrics import MetricUnit, single_metric

from lambdas.load.lake import Lake

_LOADED_BEFORE: LiteralString = (
    "select coalesce(max(sequence), 0) from pipeline_run where sequence < %s"
)

_WAITING: LiteralString = """
select table_name, reason ->> 'rule', count(distinct key)
from waiting_row
cross join lateral jsonb_array_elements(reasons) as reason
group by 1, 2
"""


@dataclass(frozen=True)
class BrokenRule:
    """A rule that rows break.

    Attributes:
        table: The star table that the rows are missing from.
        rule: What it demands, as its TOML file has it; or what a waiting fact lacks.
        rows: How many rows break it.
    """

    table: str
    rule: str
    rows: int


@dataclass(frozen=True)
class Quality:
    """What is missing from the star schema.

    Attributes:
        rows_quarantined: Source rows that the builds of the loaded runs put into the quarantine.
        broken_rules: The rules that those break, and those that facts waiting in the warehouse do.
    """

    rows_quarantined: int
    broken_rules: tuple[BrokenRule, ...]


def quality(connection: psycopg.Connection, lake: Lake, sequence: int) -> Quality:
    """Returns what is missing, after a load.

    Args:
        connection: The warehouse.
        lake: The star schema.
        sequence: The run that was loaded: the ones since the load before belong to it.

    Raises:
        ObjectStoreUnavailable: The lake could not be read.
    """
    row = connection.execute(_LOADED_BEFORE, [sequence]).fetchone()
    reasons = list(lake.reasons(after=int(row[0]) if row else 0, through=sequence))
    rows: Counter[tuple[str, str]] = Counter(
        (table, rule) for table, broken in reasons for rule in broken
    )
    for table, rule, count in connection.execute(_WAITING):
        rows[table, rule] += count
    rules = tuple(BrokenRule(*named, count) for named, count in sorted(rows.items()))
    return Quality(len(reasons), rules)


def put_metrics(found: Quality, facts_waiting: int, namespace: str) -> None:
    """Puts the figures into CloudWatch, by the function's log (embedded metric format).

    Args:
        found: What is missing.
        facts_waiting: Facts that wait in the warehouse.
        namespace: Of the metrics: RowsQuarantined and FactsWaiting by `service`, and
            RowsBreakingRule by `service`, `table` and `rule`.
    """
    service = {"service": "load"}
    totals = {"RowsQuarantined": found.rows_quarantined, "FactsWaiting": facts_waiting}
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
