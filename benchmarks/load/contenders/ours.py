"""Load itself, from the Iceberg tables of the local cloud; the argument is the run to load."""

import sys

import boto3
import psycopg

from benchmarks.load.contenders.task import warehouse_url
from benchmarks.load.star import DATABASE
from lambdas.load.lake import Lake, glue_catalog
from lambdas.load.load import LoadRequest, load

_SECONDS = 3600.0


def main(sequence: int) -> None:
    """Loads what the warehouse lacks up to a run."""
    session = boto3.Session()
    catalog = glue_catalog(session.client("s3"), session.get_credentials())
    with psycopg.connect(warehouse_url(), autocommit=True) as connection:
        load(
            connection,
            Lake(catalog, DATABASE),
            LoadRequest("benchmark", sequence, rebuild=False),
            seconds_left=lambda: _SECONDS,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]))
