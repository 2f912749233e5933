"""A contender's task, passed in its environment, and its report."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

FOLDER_VARIABLE: Final = "BENCHMARK_FOLDER"
TASK_VARIABLE: Final = "BENCHMARK_TASK"
_REPORT: Final = "build.json"
RUN_ID: Final = "benchmark"


@dataclass(frozen=True)
class Task:
    """The input and output of a build.

    Attributes:
        raw_bucket: The bucket of the raw zone.
        database: The Glue database of our star schema.
        through: The newest run.
        rebuild: Whether to build everything again from the raw zone.
        statements: The file of DuckDB's SQL statements.
        target: The URI of the folder of plain Parquet files.
    """

    raw_bucket: str = ""
    database: str = ""
    through: int = 1
    rebuild: bool = False
    statements: str = ""
    target: str = ""

    def to_json(self) -> str:
        """Returns the task in the form that `task` reads."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Report:
    """The report of a contender with a Spark session.

    Attributes:
        session_s: Seconds until the session was ready.
        build_s: Seconds from then until the star schema was written.
        rows: Rows written.
        bytes_read: Bytes read from the raw zone and the lake.
        bytes_written: Bytes written.
    """

    session_s: float
    build_s: float
    rows: int
    bytes_read: int
    bytes_written: int


def task() -> Task:
    """Returns the task."""
    return Task(**json.loads(os.environ[TASK_VARIABLE]))


def output_folder() -> Path:
    """Returns the empty output folder of this run."""
    return Path(os.environ[FOLDER_VARIABLE])


def write_report(report: Report) -> None:
    """Writes the report to the run's folder."""
    (output_folder() / _REPORT).write_text(json.dumps(asdict(report)))


def read_report(folder: Path) -> Report | None:
    """Returns the report of a run, or None if the run wrote none."""
    path = folder / _REPORT
    return Report(**json.loads(path.read_text())) if path.exists() else None
