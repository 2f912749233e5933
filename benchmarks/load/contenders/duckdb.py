"""DuckDB inserting into the attached warehouse, with two threads."""

from pathlib import Path

import duckdb
import duckdb_extension_postgres_scanner

from benchmarks.load.contenders.task import TABLE, parquet, warehouse_url


def main() -> None:
    """Inserts the Parquet file."""
    package = Path(duckdb_extension_postgres_scanner.__file__).parent
    extension = next(package.glob("extensions/*/postgres_scanner.duckdb_extension"))
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute(f"load '{extension}'")
        connection.execute(f"attach '{warehouse_url()}' as warehouse (type postgres)")
        connection.execute(f"insert into warehouse.{TABLE} from '{parquet()}'")


if __name__ == "__main__":
    main()
