"""pandas.read_sql with default settings."""

import pandas
import sqlalchemy

from benchmarks.ingest.contenders.task import TABLE, output_folder, source_url


def main() -> None:
    """Reads the table into a frame and writes the frame."""
    engine = sqlalchemy.create_engine(source_url())
    rows = pandas.read_sql(f"select * from {TABLE}", engine)  # noqa: S608
    rows.to_parquet(output_folder() / "part.parquet", compression="zstd", index=False)


if __name__ == "__main__":
    main()
