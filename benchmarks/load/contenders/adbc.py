"""ADBC's bulk ingestion (binary COPY) to the table."""

import adbc_driver_postgresql.dbapi
import pyarrow as pa

from benchmarks.load.contenders.task import TABLE, batches, schema, warehouse_url


def main() -> None:
    """Streams the record batches."""
    with (
        adbc_driver_postgresql.dbapi.connect(warehouse_url()) as connection,
        connection.cursor() as cursor,
    ):
        reader = pa.RecordBatchReader.from_batches(schema(), batches())
        cursor.adbc_ingest(TABLE, reader, mode="append")
        connection.commit()


if __name__ == "__main__":
    main()
