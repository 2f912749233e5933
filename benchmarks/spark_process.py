"""The end of a Spark session whose process is measured."""

from pyspark.sql import SparkSession


def end(spark: SparkSession) -> None:
    """Stops a session and waits for its JVM.

    Only a child that is waited for is counted, and Spark does not wait for its JVM.
    """
    gateway = spark.sparkContext._gateway
    assert gateway is not None  # noqa: S101 - a session has its JVM
    spark.stop()
    gateway.proc.stdin.close()
    gateway.proc.wait()
