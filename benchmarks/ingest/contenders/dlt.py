"""dlt's sql_table to Parquet files in a local folder. The argument is its back end."""

import os
import sys
from pathlib import Path

import dlt
from dlt.destinations import filesystem
from dlt.sources.sql_database import sql_table

from benchmarks.ingest.contenders.task import TABLE, output_folder, source_url


def main(backend: str) -> None:
    """Runs a pipeline of one table, and discards its state."""
    os.environ |= {
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "NORMALIZE__DATA_WRITER__COMPRESSION": "zstd",
        "DATA_WRITER__COMPRESSION": "zstd",
    }
    pipeline = dlt.pipeline(
        "benchmark",
        pipelines_dir=str(Path(os.environ["TMPDIR"]) / "pipelines"),
        destination=filesystem(bucket_url=output_folder().as_uri()),
        dataset_name="benchmark",
    )
    rows = sql_table(
        source_url(),
        table=TABLE,
        backend=backend,
        backend_kwargs={"return_type": "arrow"} if backend == "connectorx" else None,
    )
    pipeline.run(rows, loader_file_format="parquet")


if __name__ == "__main__":
    main(sys.argv[1])
