"""ADBC's PostgreSQL driver (binary COPY) with default settings: record batches to Parquet."""

import adbc_driver_postgresql.dbapi
import pyarrow.parquet as pq

from benchmarks.ingest.contenders.task import TABLE, output_folder, source_url


def main() -> None:
    """Streams the table."""
    with (
        adbc_driver_postgresql.dbapi.connect(source_url()) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(f"select * from {TABLE}")  # noqa: S608
        batches = cursor.fetch_record_batch()
        path = output_folder() / "part.parquet"
        with pq.ParquetWriter(path, batches.schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)


if __name__ == "__main__":
    main()
