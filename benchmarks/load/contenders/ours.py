"""Load, from the Iceberg tables of the local cloud.

The arguments are the run to load and, for a load in steps, `in-steps`.
"""

import sys

import boto3
import psycopg

from benchmarks.load.contenders.task import warehouse_url
from benchmarks.load.star import DATABASE
from lambdas.load.lake import Lake, glue_catalog
from lambdas.load.load import load
from lambdas.load.pace import Pace
from pipeline.requests import LoadRequest

_SECONDS_OF_AN_INVOCATION = 900.0


def main(sequence: int, *, in_steps: bool = False) -> None:
    """Loads the warehouse through a run, in as many invocations as necessary."""
    session = boto3.Session()
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
                pace=Pace(rows_per_second=0) if in_steps else Pace(),
            ).complete


if __name__ == "__main__":
    main(int(sys.argv[1]), in_steps="in-steps" in sys.argv)
