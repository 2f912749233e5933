"""A Spark session that reports its time and bytes."""

import time
from collections.abc import Callable

from pyspark.sql import SparkSession

from benchmarks import spark_process
from benchmarks.build.contenders.task import Report, write_report


def reported(build: Callable[[SparkSession], int]) -> None:
    """Starts a session, builds a star schema in it, and writes the report.

    Args:
        build: Builds the star schema and returns the number of rows written.
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
    """Returns the bytes that the object store clients read and wrote.

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
