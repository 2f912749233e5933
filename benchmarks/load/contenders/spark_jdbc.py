"""Spark's JDBC writer from the Parquet file, start-up included."""

from urllib.parse import urlsplit

from benchmarks import spark_process
from benchmarks.ingest.contenders.spark_jdbc import JARS, session
from benchmarks.load.contenders.task import TABLE, parquet_of_texts, warehouse_url


def main() -> None:
    """Appends in two partitions. The server converts text to times of day."""
    spark = (
        session()
        .config("spark.driver.memory", "1g")
        .config("spark.driver.extraClassPath", f"{JARS.resolve()}/*")
        .getOrCreate()
    )
    place = urlsplit(warehouse_url())
    rows = spark.read.parquet(str(parquet_of_texts())).repartition(2)
    rows.write.format("jdbc").mode("append").options(
        url=f"jdbc:postgresql://{place.hostname}:{place.port}{place.path}",
        driver="org.postgresql.Driver",
        user=place.username,
        password=place.password,
        dbtable=TABLE,
        batchsize=10_000,
        stringtype="unspecified",
        reWriteBatchedInserts="true",
    ).save()
    spark_process.end(spark)


if __name__ == "__main__":
    main()
