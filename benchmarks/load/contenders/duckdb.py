"""DuckDB, which inserts into the attached warehouse with two threads."""

from benchmarks import postgres_scanner
from benchmarks.load.contenders.task import TABLE, parquet, warehouse_url


def main() -> None:
    """Inserts the Parquet file."""
    with postgres_scanner.connect() as connection:
        connection.execute(f"attach '{warehouse_url()}' as warehouse (type postgres)")
        connection.execute(f"insert into warehouse.{TABLE} from '{parquet()}'")


if __name__ == "__main__":
    main()
