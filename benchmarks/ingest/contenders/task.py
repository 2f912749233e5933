"""What a contender has to do; the source's address is no argument, as those are there to see."""

import os
from pathlib import Path
from typing import Final

TABLE: Final = "sales_order"
KEY: Final = "sales_order_id"
SOURCE_VARIABLE: Final = "BENCHMARK_SOURCE"
FOLDER_VARIABLE: Final = "BENCHMARK_FOLDER"


def source_url() -> str:
    """Returns the URL of the source database."""
    return os.environ[SOURCE_VARIABLE]


def output_folder() -> Path:
    """Returns the empty folder that the Parquet files go to."""
    return Path(os.environ[FOLDER_VARIABLE])
