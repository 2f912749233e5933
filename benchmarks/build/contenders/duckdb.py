"""DuckDB: the same star schema from the same files, on the local disk."""

import os
from pathlib import Path

import duckdb

from benchmarks.build.contenders.task import output_folder, task


def main() -> None:
    """Runs the statements, which write one Parquet file for each star table."""
    statements = Path(task().statements).read_text()
    os.chdir(output_folder())
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute(statements)


if __name__ == "__main__":
    main()
