"""DuckDB's PostgreSQL scanner as it comes, with two threads."""

from pathlib import Path

import duckdb
import duckdb_extension_postgres_scanner

from benchmarks.ingest.contenders.task import TABLE, output_folder, source_url


def main() -> None:
    """Copies the attached table into a Parquet file."""
    package = Path(duckdb_extension_postgres_scanner.__file__).parent
    extension = next(package.glob("extensions/*/postgres_scanner.duckdb_extension"))
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute(f"load '{extension}'")
        connection.execute(f"attach '{source_url()}' as source (type postgres, read_only)")
        connection.execute(
            f"copy source.{TABLE} to '{output_folder() / 'part.parquet'}' "
            "(format parquet, compression zstd)"
        )


if __name__ == "__main__":
    main()
