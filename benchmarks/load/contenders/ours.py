"""Load, from the Iceberg tables of the local cloud.

The arguments are the run to load and any of these: `in-steps` loads in steps; `warm` measures an
invocation of a process that has loaded the run before, as AWS Lambda mostly invokes a function;
`row-by-row` leaves the foreign keys to PostgreSQL, as for a role that may not switch them off.
"""

import json
import os
import sys
import time
from collections.abc import Collection
from pathlib import Path

import psycopg

from benchmarks.load.contenders.task import warehouse_url
from benchmarks.load.star import DATABASE
from lambdas.load.lake import Lake, glue_catalog
from lambdas.load.load import load
from lambdas.load.pace import Pace
from pipeline.aws_session import default_session
from pipeline.requests import LoadRequest

_SECONDS_OF_AN_INVOCATION = 900.0
_NEVER = 10**12


def main(sequence: int, how: Collection[str] = ()) -> None:
    """Loads the warehouse through a run."""
    pace = Pace(
        rows_per_second=0.0 if "in-steps" in how else Pace.rows_per_second,
        rows_worth_checks=_NEVER if "row-by-row" in how else Pace.rows_worth_checks,
    )
    if "warm" in how:
        _load(sequence - 1, pace)
    began, used = time.perf_counter(), time.process_time()
    _load(sequence, pace)
    if "warm" in how:
        usage = {"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - used}
        # A cold load needs no more than the function has.
        from benchmarks.measure import OWN_USAGE_VARIABLE  # noqa: PLC0415

        Path(os.environ[OWN_USAGE_VARIABLE]).write_text(json.dumps(usage))


def _load(sequence: int, pace: Pace) -> None:
    """Loads in as many invocations as necessary."""
    session = default_session()
    catalog = glue_catalog(session.client("s3"), session.get_credentials())
    is_complete = False
    with psycopg.connect(warehouse_url(), autocommit=True) as connection:
        while not is_complete:
            is_complete = load(
                connection,
                Lake(catalog, DATABASE),
                LoadRequest("benchmark", sequence, rebuild=False),
                lambda *_: False,
                seconds_left=lambda: _SECONDS_OF_AN_INVOCATION,
                pace=pace,
            ).complete


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
