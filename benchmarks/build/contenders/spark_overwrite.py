"""Plain Spark: the same SELECTs on the files of one run, written as Parquet in overwrite mode."""

import boto3
from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as f

from benchmarks.build.contenders.session import reported
from benchmarks.build.contenders.task import RUN_ID, task
from glue_jobs.build.checking import fit
from pipeline.manifest import ManifestStore
from star_schema.iso_4217 import currencies
from star_schema.sources import source_declaration
from star_schema.tables import star_tables


def build(spark: SparkSession) -> int:
    """Writes a folder of Parquet files for each star table; a window numbers the facts."""
    todo = task()
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    run = ManifestStore(todo.raw_bucket, boto3.client("s3")).read(todo.through)
    for source, capture in run.tables.items():
        files = [f"s3://{todo.raw_bucket}/{key}" for key in capture.files]
        rows = spark.read.parquet(*files)
        if declaration := source_declaration(source):
            rows = fit(rows, declaration.rules.every)
        rows.withColumn("_sequence", f.lit(1)).createOrReplaceTempView(source)
    spark.createDataFrame(currencies(), "code string, name string").createOrReplaceTempView(
        "iso_4217"
    )
    spark.createDataFrame([], "date_id date, _sequence int").createOrReplaceTempView("dim_date")
    for star in star_tables():
        rows = spark.sql(star.select).drop("_sequence")
        if star.record_id:
            number = f.row_number().over(Window.orderBy(star.natural_key))
            rows = rows.withColumn(star.record_id, number)
        whole = rows.withColumn("is_deleted", f.lit(False)).withColumn("run_id", f.lit(RUN_ID))
        whole.write.mode("overwrite").parquet(f"{todo.target}/{star.name}")
    return sum(spark.read.parquet(f"{todo.target}/{star.name}").count() for star in star_tables())


if __name__ == "__main__":
    reported(build)
