"""polars.read_database_uri with default settings."""

import polars

from benchmarks.ingest.contenders.task import TABLE, output_folder, source_url


def main() -> None:
    """Reads the table into a frame and writes the frame."""
    rows = polars.read_database_uri(f"select * from {TABLE}", source_url())  # noqa: S608
    rows.write_parquet(output_folder() / "part.parquet", compression="zstd")


if __name__ == "__main__":
    main()
