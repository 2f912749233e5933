"""What a contender has to do, as it finds it in its environment, and what it says of itself."""

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
    """What to build, and from what.

    Attributes:
        raw_bucket: The bucket of the raw zone.
        database: The Glue database, where the star schema is one of ours.
        through: The newest run.
        rebuild: Whether to build everything again from raw.
        statements: The file of SQL statements, where the star schema is DuckDB's.
        target: The URI of the folder, where the star schema is one of plain Parquet files.
    """

    raw_bucket: str = ""
    database: str = ""
    through: int = 1
    rebuild: bool = False
    statements: str = ""
    target: str = ""

    def to_json(self) -> str:
        """Returns the task as `task` reads it."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Report:
    """What a contender with a session says of its run.

    Attributes:
        session_s: Seconds from its first line to a session.
        build_s: Seconds from there until the star schema was there.
        rows: Rows that it wrote.
        bytes_read: Bytes that it read of the raw zone and the lake.
        bytes_written: Bytes that it wrote.
    """

    session_s: float
    build_s: float
    rows: int
    bytes_read: int
    bytes_written: int


def task() -> Task:
    """Returns what to do."""
    return Task(**json.loads(os.environ[TASK_VARIABLE]))


def output_folder() -> Path:
    """Returns the empty folder of this run."""
    return Path(os.environ[FOLDER_VARIABLE])


def write_report(report: Report) -> None:
    """Leaves the report in the run's folder."""
    (output_folder() / _REPORT).write_text(json.dumps(asdict(report)))


def read_report(folder: Path) -> Report | None:
    """Returns the report that a run left, if it did."""
    path = folder / _REPORT
    return Report(**json.loads(path.read_text())) if path.exists() else None
