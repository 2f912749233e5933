"""A contender's task. Arguments are visible to others, so the source's address is no argument."""

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
    """Returns the empty output folder."""
    return Path(os.environ[FOLDER_VARIABLE])
