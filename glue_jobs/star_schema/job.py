"""What both Glue jobs do: arguments in, star tables built, a line a table out."""

import logging
import sys
from collections.abc import Callable

import boto3
from awsglue.utils import getResolvedOptions
from pyspark.sql import SparkSession

from glue_jobs.star_schema.build import BuildRequest, build_tables
from pipeline.errors import InvalidInput
from pipeline.manifest import ManifestStore
from pipeline.star_sql import StarTable, star_tables

_ARGUMENTS = ["raw_bucket", "glue_database", "through_sequence", "rebuild"]


def run_job(arguments: list[str], is_mine: Callable[[StarTable], bool]) -> None:
    """Builds the star tables that are this job's.

    Args:
        arguments: The process's arguments, as AWS Glue passes them.
        is_mine: Which star tables the job builds.

    Raises:
        InvalidInput: An argument is malformed.
        TableBuildFailed: A table could not be built; the others were.
    """
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    logging.getLogger("py4j").setLevel(logging.WARNING)
    options = getResolvedOptions(arguments, _ARGUMENTS)
    if not options["through_sequence"].isdecimal():
        raise InvalidInput(
            f"--through_sequence is {options['through_sequence']!r}: a run's number is wanted"
        )
    request = BuildRequest(
        raw_bucket=options["raw_bucket"],
        database=options["glue_database"],
        through=int(options["through_sequence"]),
        rebuild=options["rebuild"] == "true",
    )
    spark = SparkSession.builder.getOrCreate()
    try:
        store = ManifestStore(request.raw_bucket, boto3.client("s3"))
        build_tables(spark, store, [star for star in star_tables() if is_mine(star)], request)
    finally:
        spark.stop()
