"""The build stage: all star tables in one session."""

import boto3
from pyspark.sql import SparkSession

from benchmarks.build.contenders.session import reported
from benchmarks.build.contenders.task import task
from glue_jobs.build.building import BuildRequest, build_tables
from pipeline.manifest import ManifestStore
from star_schema.tables import star_tables


def build(spark: SparkSession) -> int:
    """Builds the star schema through the task's run."""
    todo = task()
    request = BuildRequest(todo.database, todo.through, todo.rebuild)
    store = ManifestStore(todo.raw_bucket, boto3.client("s3"))
    return sum(built.rows for built in build_tables(spark, store, star_tables(), request))


if __name__ == "__main__":
    reported(build)
