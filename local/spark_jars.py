"""The jars that AWS Glue has built in and PySpark lacks: Iceberg and S3A. They are fetched once."""

import shutil
import subprocess
import sys
from pathlib import Path

from pyspark.sql import SparkSession

PACKAGES = (
    "org.apache.hadoop:hadoop-aws:3.4.2",
    "software.amazon.awssdk:s3-transfer-manager:2.29.52",
    "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.11.0",
    "org.apache.iceberg:iceberg-aws-bundle:1.11.0",
)
_IN_THE_BUNDLE = (
    "bundle",
    "s3",
    "sdk-core",
    "arns",
    "aws-core",
    "utils",
    "annotations",
    "regions",
    "profiles",
    "protocol-core",
    "json-utils",
    "http-client-spi",
)


class SparkJarsMissing(Exception):
    """Spark's jars could not be fetched."""


def fetch(folder: Path) -> None:
    """Fetches the jars into a folder, all or none, unless the folder exists.

    Raises:
        SparkJarsMissing: They could not be fetched.
    """
    if folder.exists():
        return
    # A process has one JVM, and this process's JVM would lack the jars.
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "local.spark_jars", str(folder)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SparkJarsMissing(
            f"Spark's jars could not be fetched from Maven Central:\n{done.stdout}{done.stderr}"
        )


def _resolve(folder: Path) -> None:
    cache = folder.with_name(folder.name + "-fetching")
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.jars.ivy", str(cache))
        .config("spark.jars.packages", ",".join(PACKAGES))
        .config(
            "spark.jars.excludes",
            ",".join(f"software.amazon.awssdk:{name}" for name in _IN_THE_BUNDLE),
        )
        .getOrCreate()
    )
    spark.stop()
    (cache / "jars").rename(folder)
    shutil.rmtree(cache)


if __name__ == "__main__":
    _resolve(Path(sys.argv[1]))
