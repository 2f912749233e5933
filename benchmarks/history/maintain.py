"""Maintains the star tables of a Glue database, the argument, and keeps no old snapshot."""

import sys

from pyspark.sql import SparkSession

from benchmarks import spark_process
from glue_jobs.build.maintenance import Retention, maintain_tables
from star_schema.quarantine import QUARANTINE
from star_schema.tables import star_tables

if __name__ == "__main__":
    spark = SparkSession.builder.getOrCreate()
    tables = [*(star.name for star in star_tables()), QUARANTINE]
    maintain_tables(
        spark, sys.argv[1], tables, Retention(snapshot_days=0, snapshots=1, orphan_days=1)
    )
    spark_process.end(spark)
