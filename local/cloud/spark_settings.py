"""Spark's settings of jobs: what AWS Glue has built in, and what a job's `--conf` adds."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

JAVA_OPTIONS: Final = "spark.driver.extraJavaOptions"
# The data is small: the second compiler costs more than it gains. Without it Java reserves a small
# code cache, and a full code cache ends all compilation.
_JAVA_OPTIONS: Final = (
    "-XX:TieredStopAtLevel=1",
    "-XX:ReservedCodeCacheSize=256m",
    "-XX:+UseSerialGC",
    # What a job's classes take: Java collects garbage each time that they fill a part of it.
    "-XX:MetaspaceSize=256m",
    "-Xshare:auto",
)


def spark_settings(endpoint: str, jars: Path) -> dict[str, str]:
    """Returns the Spark settings for what AWS Glue has built in.

    Args:
        endpoint: The local cloud's URL.
        jars: The folder of Spark's jars.
    """
    catalog = "spark.sql.catalog.glue_catalog"
    return {
        "spark.master": "local[2]",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "2g",
        JAVA_OPTIONS: " ".join(_JAVA_OPTIONS),
        "spark.driver.extraClassPath": f"{jars}/*",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # Without a UI nobody reads a plan's text, which each query and each of its stages makes.
        "spark.sql.ui.explainMode": "simple",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "spark.hadoop.fs.s3a.endpoint": endpoint,
        "spark.hadoop.fs.s3a.endpoint.region": os.environ["AWS_DEFAULT_REGION"],
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.input.stream.type": "classic",
        f"{catalog}.s3.endpoint": endpoint,
        f"{catalog}.glue.endpoint": endpoint,
        f"{catalog}.s3.path-style-access": "true",
        f"{catalog}.client.region": os.environ["AWS_DEFAULT_REGION"],
    }


def settings_of(conf: str) -> dict[str, str]:
    """Returns the Spark settings of a job's `--conf`, which separates them by ` --conf `."""
    pairs = (setting.strip().partition("=") for setting in conf.split(" --conf "))
    return {name: value for name, _, value in pairs if name}


def with_java_options(settings: Mapping[str, str], options: Iterable[str]) -> dict[str, str]:
    """Returns the settings with additional options of the JVM."""
    # Spark splits the options at spaces that are not quoted.
    quoted = (f'"{option}"' if " " in option or "'" in option else option for option in options)
    return {**settings, JAVA_OPTIONS: " ".join((settings[JAVA_OPTIONS], *quoted))}
