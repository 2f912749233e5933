"""dlt, which appends record batches to the table by CSV files and COPY."""

import os
from pathlib import Path

import dlt
from dlt.destinations import postgres

from benchmarks.load.contenders.task import TABLE, batches, warehouse_url


def main() -> None:
    """Runs a pipeline of one table, and discards its state."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    pipeline = dlt.pipeline(
        "benchmark",
        pipelines_dir=str(Path(os.environ["TMPDIR"]) / "pipelines"),
        destination=postgres(warehouse_url()),
        dataset_name="public",
    )
    pipeline.run(
        batches(), table_name=TABLE, write_disposition="append", loader_file_format="csv"
    ).raise_on_failed_jobs()


if __name__ == "__main__":
    main()
