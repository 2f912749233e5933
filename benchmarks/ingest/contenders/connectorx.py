"""connectorx to Arrow, pyarrow to Parquet. The argument is the number of partitions."""

import sys

import connectorx
import pyarrow.parquet as pq

from benchmarks.ingest.contenders.task import KEY, TABLE, output_folder, source_url


def main(partitions: int) -> None:
    """Reads the table, by ranges of its key if there are several partitions."""
    rows = connectorx.read_sql(
        source_url(),
        f"select * from {TABLE}",  # noqa: S608
        return_type="arrow",
        **({"partition_on": KEY, "partition_num": partitions} if partitions > 1 else {}),
    )
    pq.write_table(rows, output_folder() / "part.parquet", compression="zstd")


if __name__ == "__main__":
    main(int(sys.argv[1]))
