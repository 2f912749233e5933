"""DuckDB's PostgreSQL scanner with default settings and two threads."""

from benchmarks import postgres_scanner
from benchmarks.ingest.contenders.task import TABLE, output_folder, source_url


def main() -> None:
    """Copies the attached table to a Parquet file."""
    with postgres_scanner.connect() as connection:
        connection.execute(f"attach '{source_url()}' as source (type postgres, read_only)")
        connection.execute(
            f"copy source.{TABLE} to '{output_folder() / 'part.parquet'}' "
            "(format parquet, compression zstd)"
        )


if __name__ == "__main__":
    main()
