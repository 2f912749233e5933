"""Spark's JDBC source with two partitions, start-up included. `fetch` fetches the driver only."""

import shutil
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pyspark.sql import DataFrameReader, SparkSession

from benchmarks import spark_process
from benchmarks.ingest.contenders.task import KEY, TABLE, output_folder, source_url

_DRIVER = "org.postgresql:postgresql:42.7.8"
JARS: Final = Path(".local/benchmark-jars")
_BOUNDS = f"select min({KEY}), max({KEY}) from {TABLE}"  # noqa: S608


def fetch() -> None:
    """Fetches PostgreSQL's JDBC driver from Maven Central, unless it exists."""
    if JARS.exists():
        return
    cache = JARS.with_name(JARS.name + "-fetching")
    spark = (
        session()
        .config("spark.jars.ivy", str(cache.resolve()))
        .config("spark.jars.packages", _DRIVER)
        .getOrCreate()
    )
    spark.stop()
    (cache / "jars").rename(JARS)
    shutil.rmtree(cache)


def main() -> None:
    """Reads the table by ranges of its key."""
    spark = (
        session()
        .config("spark.driver.memory", "1g")
        .config("spark.driver.extraClassPath", f"{JARS.resolve()}/*")
        .config("spark.sql.parquet.compression.codec", "zstd")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    bounds = _source(spark).option("query", _BOUNDS).load().first()
    assert bounds is not None  # noqa: S101 - an aggregate gives one row
    rows = _source(spark).options(
        dbtable=TABLE,
        partitionColumn=KEY,
        lowerBound=bounds[0],
        upperBound=bounds[1] + 1,
        numPartitions=2,
    )
    rows.load().write.parquet(str(output_folder() / "rows"))
    spark_process.end(spark)


def _source(spark: SparkSession) -> DataFrameReader:
    place = urlsplit(source_url())
    return spark.read.format("jdbc").options(
        url=f"jdbc:postgresql://{place.hostname}:{place.port}{place.path}",
        driver="org.postgresql.Driver",
        user=place.username,
        password=place.password,
        fetchsize=10_000,
    )


def session() -> SparkSession.Builder:
    """Returns the builder of a session with two threads."""
    return (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
    )


if __name__ == "__main__":
    fetch() if sys.argv[1:] == ["fetch"] else main()
