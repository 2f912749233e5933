"""The Glue jobs: parse the arguments, then build or maintain the star tables."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import boto3
from awsglue.utils import getResolvedOptions
from pyspark.sql import SparkSession

from glue_jobs.build.building import BuildRequest, build_tables
from glue_jobs.build.maintenance import Retention, maintain_tables
from pipeline.errors import InvalidInput
from pipeline.manifest import ManifestStore
from star_schema.quarantine import QUARANTINE
from star_schema.tables import StarTable, star_tables

_BUILD_ARGUMENTS = ["raw_bucket", "glue_database", "through_sequence", "rebuild"]
_MAINTENANCE_ARGUMENTS = ["glue_database", "snapshot_days", "snapshots_kept", "orphan_days"]


def run_job(arguments: list[str], is_mine: Callable[[StarTable], bool]) -> None:
    """Builds the star tables of this job.

    Args:
        arguments: The process's arguments, as AWS Glue passes them.
        is_mine: Which star tables the job builds.

    Raises:
        InvalidInput: An argument is malformed.
        TableBuildFailed: A table could not be built; the others were.
    """
    options = getResolvedOptions(arguments, _BUILD_ARGUMENTS)
    request = BuildRequest(
        database=options["glue_database"],
        through=_number(options, "through_sequence", "a run's number"),
        rebuild=options["rebuild"] == "true",
    )
    with _session() as spark:
        store = ManifestStore(options["raw_bucket"], boto3.client("s3"))
        build_tables(spark, store, [star for star in star_tables() if is_mine(star)], request)


def run_maintenance(arguments: list[str]) -> None:
    """Maintains every table of the star schema, and the quarantine.

    Args:
        arguments: The process's arguments, as AWS Glue passes them.

    Raises:
        InvalidInput: An argument is malformed.
        TableMaintenanceFailed: A table could not be maintained; the others were.
    """
    options = getResolvedOptions(arguments, _MAINTENANCE_ARGUMENTS)
    retention = Retention(
        snapshot_days=_number(options, "snapshot_days", "a number of days"),
        snapshots=_number(options, "snapshots_kept", "a number of snapshots"),
        orphan_days=_number(options, "orphan_days", "a number of days"),
    )
    tables = [*(star.name for star in star_tables()), QUARANTINE]
    with _session() as spark:
        maintain_tables(spark, options["glue_database"], tables, retention)


@contextmanager
def _session() -> Iterator[SparkSession]:
    """Gives the job's Spark session, with the log that AWS Glue shows as the job's output."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    logging.getLogger("py4j").setLevel(logging.WARNING)
    spark = SparkSession.builder.getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()


def _number(options: dict[str, str], name: str, wanted: str) -> int:
    if not options[name].isdecimal():
        raise InvalidInput(f"--{name} is {options[name]!r}: {wanted} is wanted")
    return int(options[name])
