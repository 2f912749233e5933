"""A Spark session whose time and bytes are told."""

import time
from collections.abc import Callable

from pyspark.sql import SparkSession

from benchmarks import spark_process
from benchmarks.build.contenders.task import Report, write_report


def reported(build: Callable[[SparkSession], int]) -> None:
    """Starts a session, has it build a star schema, and reports how that went.

    Args:
        build: Builds, and returns how many rows it wrote.
    """
    began = time.monotonic()
    spark = SparkSession.builder.getOrCreate()
    started = time.monotonic()
    rows = build(spark)
    built = time.monotonic()
    read, written = _bytes(spark)
    write_report(Report(started - began, built - started, rows, read, written))
    spark_process.end(spark)


def _bytes(spark: SparkSession) -> tuple[int, int]:
    """Returns what was read and written by object stores' clients.

    Both S3A and Iceberg's S3FileIO count in Hadoop's statistics (HadoopMetricsContext).
    """
    jvm = spark._jvm
    assert jvm is not None  # noqa: S101 - a session has its JVM
    statistics = [
        one
        for one in jvm.org.apache.hadoop.fs.FileSystem.getAllStatistics()
        if one.getScheme() != "file"
    ]
    return (
        sum(one.getBytesRead() for one in statistics),
        sum(one.getBytesWritten() for one in statistics),
    )
