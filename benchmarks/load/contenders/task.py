"""A contender's task: load the facts of some files into a warehouse's table."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.ingest.contenders.task import source_url

TABLE: Final = "fact_sales_order"
KEY: Final = "sales_record_id"
FACTS_VARIABLE: Final = "BENCHMARK_FACTS"
_ROWS_AT_A_TIME = 65_536


def warehouse_url() -> str:
    """Returns the URL of the warehouse. Arguments are visible to others, so it is no argument."""
    return source_url()


def parquet() -> Path:
    """Returns the Parquet file of the facts, with PostgreSQL's types."""
    return Path(os.environ[FACTS_VARIABLE]).with_suffix(".parquet")


def parquet_of_texts() -> Path:
    """Returns the same file with the times of day as text, for contenders without that type."""
    return Path(os.environ[FACTS_VARIABLE]).with_suffix(".texts.parquet")


def schema() -> pa.Schema:
    """Returns the schema of the Parquet file."""
    return pq.read_schema(parquet())


def batches() -> Iterator[Any]:
    """Yields the Parquet file's record batches."""
    with pq.ParquetFile(parquet()) as file:
        yield from file.iter_batches(_ROWS_AT_A_TIME)
