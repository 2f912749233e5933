"""What the pipeline costs a month, by the prices of pipeline/prices.toml: docs/deploy.md's tables.

`python -m deployment.costs` prints them. What an execution uses is assumed: RUN and NOTHING_NEW.
"""

import sys
from collections.abc import Mapping
from typing import Final

from pipeline.prices import HOURS_A_MONTH, glue_dpu_hours, lambda_gb_seconds, prices

Usage = Mapping[str, float]

FUNCTION_MB: Final = {"Ingest": 2048, "Load": 2048, "Publish": 1024}
WORKERS: Final = 2
ALARMS: Final = 10
"""The sizes of template.yaml: a test compares them."""

JOB_SECONDS: Final = 90.0
"""Assumed: a job's start and a small build on two G.1X workers, as AWS Glue bills them."""

RUN: Final[Usage] = {
    "lambda_gb_second": lambda_gb_seconds(FUNCTION_MB["Ingest"], 8)
    + lambda_gb_seconds(FUNCTION_MB["Load"], 8)
    + lambda_gb_seconds(FUNCTION_MB["Publish"], 4),
    "lambda_request": 3,
    "lambda_storage_gb_second": 1.5 * 8,
    "glue_dpu_hour": glue_dpu_hours(WORKERS, JOB_SECONDS),
    "states_transition": 14,
    "s3_put": 250,
    "s3_get": 1000,
    "dynamodb_write": 2,
    "secrets_request": 2,
    "logs_gb": 0.001,
    "xray_trace": 1,
}
"""Assumed: an execution that captures some thousand rows and builds them by one job."""

NOTHING_NEW: Final[Usage] = {
    "lambda_gb_second": lambda_gb_seconds(FUNCTION_MB["Ingest"], 3),
    "lambda_request": 1,
    "states_transition": 8,
    "s3_get": 10,
    "dynamodb_write": 2,
    "secrets_request": 1,
    "logs_gb": 0.0002,
    "xray_trace": 1,
}
"""Assumed: an execution that finds nothing new."""

STANDING: Final[Usage] = {
    "alarm_month": ALARMS,
    "metric_month": 10,
    "kms_key_month": 1,
    "secret_month": 2,  # nosec B105
    "s3_gb_month": 20,
    "logs_gb_month": 1,
    # Maintenance: a job of five minutes each night.
    "glue_dpu_hour": 30 * glue_dpu_hours(WORKERS, 300),
    "s3_put": 30 * 1000,
    "s3_get": 30 * 5000,
}
"""Assumed: a lake and a raw zone of 20 GB."""

BESIDE: Final[Mapping[str, Usage]] = {
    "network.template.yaml (four interface endpoints in two zones)": {
        "interface_endpoint_hour": 4 * 2 * HOURS_A_MONTH,
        "interface_endpoint_gb": 5,
    },
    "network.template.yaml with `PreviewLogs=false` (three)": {
        "interface_endpoint_hour": 3 * 2 * HOURS_A_MONTH,
        "interface_endpoint_gb": 5,
    },
    "warehouse.template.yaml (db.t4g.small, 20 GB)": {
        "rds_t4g_small_hour": HOURS_A_MONTH,
        "rds_gb_month": 20,
        "secret_month": 1,  # the administrator's; STANDING has the load's  # nosec B105
    },
    "the same with `MultiAz=true`": {
        "rds_t4g_small_hour": 2 * HOURS_A_MONTH,
        "rds_gb_month": 2 * 20,
        "secret_month": 1,  # nosec B105
    },
}

_MINUTES: Final = (3, 15, 60)
_OFFICE_HOURS: Final = 220
"""Hours a month with changes, if the business has 22 days of ten hours."""


def month(minutes: int, busy_hours: float) -> float:
    """Returns the estimated cost of a month in US dollars.

    Args:
        minutes: How often the pipeline starts. Every start runs to its end.
        busy_hours: In how many hours each execution finds something new.
    """
    starts_an_hour = 60 / minutes
    busy = prices().usd(RUN) * starts_an_hour * busy_hours
    idle = prices().usd(NOTHING_NEW) * starts_an_hour * (HOURS_A_MONTH - busy_hours)
    return prices().usd(STANDING) + busy + idle


def tables() -> str:
    """Returns the tables of docs/deploy.md."""
    lines = ["| starts every | executions a month | changes at all hours | in 220 hours | never |"]
    lines.append("|---|---|---|---|---|")
    for minutes in _MINUTES:
        executions = round(HOURS_A_MONTH * 60 / minutes)
        costs = " | ".join(
            f"${month(minutes, hours):.0f}" for hours in (HOURS_A_MONTH, _OFFICE_HOURS, 0)
        )
        lines.append(f"| {minutes} minutes | {executions:,} | {costs} |")
    lines += ["", "| beside it, optional | a month |", "|---|---|"]
    lines += [f"| {name} | ${prices().usd(usage):.0f} |" for name, usage in BESIDE.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(tables())
