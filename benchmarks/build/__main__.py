"""`python -m benchmarks.build --rows N`: prints tables, then one line of JSON."""

import argparse
import os
import shutil
import sys
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import boto3

from benchmarks import measure
from benchmarks.build import exactness
from benchmarks.build.business import (
    CHANGED_PART,
    LAKE_BUCKET,
    ORDERS_AT_SCALE_ONE,
    RAW_BUCKET,
    Business,
    business,
)
from benchmarks.build.contenders.task import (
    FOLDER_VARIABLE,
    TASK_VARIABLE,
    Report,
    Task,
    read_report,
)
from benchmarks.build.exactness import Star
from benchmarks.build.lake_state import LakeState
from benchmarks.build.session_settings import write_defaults
from benchmarks.build.statements import statements
from benchmarks.ingest.course import tell
from benchmarks.measure import Contender, Failure, Laps, Result, Usage
from benchmarks.workshop import workshop
from lambdas.load.lake import glue_catalog
from local.arguments import whole_number
from pipeline.manifest import Manifest
from star_schema.tables import star_tables

_SECONDS_OF_A_LAP = 900.0
_PACKAGES = ("duckdb", "pyspark")


def _script(name: str, module: str) -> Contender:
    return Contender(name, (sys.executable, "-m", f"benchmarks.build.contenders.{module}"))


_LIMIT: Final = _script("limit: DuckDB, all from raw", "duckdb")
_FIRST: Final = _script("ours (first build)", "ours")
_NEWEST: Final = _script("ours (newest 0.1 % changed)", "ours")
_SCATTERED: Final = _script("ours (scattered 0.1 % changed)", "ours")
_BY_HAND: Final = _script("ours (scattered 0.1 % changed by hand)", "ours")
_REBUILD: Final = _script("ours (rebuild of four runs)", "ours")
_OVERWRITE: Final = _script("plain Spark, overwrite of Parquet", "spark_overwrite")


@dataclass
class _Course:
    """The place where contenders run, and their output."""

    business: Business
    folder: Path
    tasks: dict[str, Task]
    reports: dict[str, Report] = field(default_factory=dict)
    databases: int = 0

    def lap(self, contender: Contender) -> Usage:
        """Runs a contender once. Our first build writes to a new database."""
        if contender is _FIRST:
            self.databases += 1
            database = f"star_{self.databases}"
            boto3.client("glue").create_database(DatabaseInput={"Name": database})
            self.tasks[contender.name] = replace(self.tasks[contender.name], database=database)
        output = self.output(contender)
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()
        usage = measure.run(
            contender.command,
            environment={
                FOLDER_VARIABLE: str(output),
                TASK_VARIABLE: self.tasks[contender.name].to_json(),
                "SPARK_CONF_DIR": str(self.folder),
                "SPARK_LOCAL_DIRS": str(output),
                "TMPDIR": str(output),
            },
            folder=output,
            timeout_s=_SECONDS_OF_A_LAP,
        )
        tell(f"{contender.name}: {usage.wall_s:.2f} s")
        if report := read_report(output):
            self.reports[contender.name] = report
        return usage

    def output(self, contender: Contender) -> Path:
        """Returns the output folder of a contender's newest run."""
        return self.folder / contender.command[-1]


@dataclass(frozen=True)
class _Scale:
    """The measurements at one number of orders."""

    orders: int
    results: list[Result | Failure]
    reports: dict[str, Report]


def main() -> None:
    """Measures each scale and prints the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.build")
    rows, times = whole_number(CHANGED_PART), whole_number(1)
    parser.add_argument("--rows", type=rows, default=10_000_000, help="orders at the largest scale")
    parser.add_argument("--rounds", type=times, default=1, help="of the first build")
    parser.add_argument("--laps", type=times, default=3, help="of each build of few changed rows")
    options = parser.parse_args()
    real = min(ORDERS_AT_SCALE_ONE, options.rows)
    scales = sorted({real, max(real, options.rows // 10), options.rows})
    measured = [_measured(orders, options.rounds, options.laps) for orders in scales]
    measure.finish(
        "build",
        [
            replace(line, name=f"{line.name}, {scale.orders:,} orders")
            for scale in measured
            for line in scale.results
        ],
        sessions=[
            {"name": f"{name}, {scale.orders:,} orders", **asdict(report)}
            for scale in measured
            for name, report in scale.reports.items()
        ],
        versions=measure.versions(_PACKAGES, Path(sys.prefix)),
    )


def _measured(orders: int, rounds: int, laps: int) -> _Scale:
    """Measures one scale, prints its tables, and removes its files."""
    with workshop("build") as folder:
        tell(f"making {orders:,} orders")
        with business(folder, orders, os.environ.update) as made:
            scale = _benchmark(made, folder, orders, rounds, laps)
    _tell_results(scale)
    return scale


def _benchmark(made: Business, folder: Path, orders: int, rounds: int, changed_laps: int) -> _Scale:
    write_defaults(folder, made.cloud.endpoint_url, LAKE_BUCKET)
    run = made.run()
    rows = _rows(run)
    course = _Course(made, folder, _first_tasks(made, run, folder))
    laps = measure.race(_LIMIT, (_FIRST, _OVERWRITE), course.lap, rounds=rounds)
    limit = exactness.local_star(course.output(_LIMIT))
    database = course.tasks[_FIRST.name].database
    found = partial(exactness.iceberg_star, made.client, database)
    first = exactness.differences(limit, found(folder / "first"))
    plain = exactness.parquet_star(made.client, LAKE_BUCKET, "plain", folder / "plain")
    results = [
        measure.summary(_LIMIT.name, laps[_LIMIT.name], rows=rows),
        _result(_FIRST, laps[_FIRST.name], rows, first),
        _result(_OVERWRITE, laps[_OVERWRITE.name], rows, exactness.differences(limit, plain)),
    ]
    limit_s = min(usage.wall_s for usage in laps[_LIMIT.name].usages)
    changes = (
        (_NEWEST, made.change_newest),
        (_SCATTERED, made.change_scattered),
        (_BY_HAND, made.change_by_hand),
    )
    grown: list[tuple[Contender, Laps, int]] = []
    for contender, change in changes:
        change()
        run = made.run()
        rows += _rows(run)
        task = Task(raw_bucket=RAW_BUCKET, database=database, through=run.sequence)
        laps_of_change = _repeated(course, contender, task, limit_s, changed_laps)
        grown.append((contender, laps_of_change, _rows(run)))
    built = found(folder / "built")
    again = _repeated(course, _REBUILD, replace(task, rebuild=True), limit_s, 1)
    rebuilt = found(folder / "rebuilt")
    same = exactness.differences(built, rebuilt) + _first_run_differences(limit, rebuilt)
    results += [_result(contender, laps, changed, same) for contender, laps, changed in grown]
    results.append(_result(_REBUILD, again, rows, same))
    return _Scale(orders, results, course.reports)


def _first_tasks(made: Business, run: Manifest, folder: Path) -> dict[str, Task]:
    """Returns the task of each contender of the first build."""
    files = {
        source: [_download(made, key, folder / "raw") for key in capture.files]
        for source, capture in run.tables.items()
    }
    script = folder / "star.sql"
    script.write_text(statements(files))
    task = Task(raw_bucket=RAW_BUCKET, through=run.sequence)
    return {
        _LIMIT.name: replace(task, statements=str(script)),
        _FIRST.name: task,
        _OVERWRITE.name: replace(task, target=f"s3://{LAKE_BUCKET}/plain"),
    }


def _download(made: Business, key: str, folder: Path) -> Path:
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    made.client.download_file(RAW_BUCKET, key, str(path))
    return path


def _repeated(course: _Course, contender: Contender, task: Task, limit_s: float, laps: int) -> Laps:
    """Runs one build several times, each from the same lake; compares it with the limit's time."""
    course.tasks[contender.name] = task
    before = LakeState(glue_catalog(course.business.client), task.database)
    found = Laps()
    for lap in range(laps):
        if found.error is not None:
            break
        if lap:
            before.restore()
        found.attempt(partial(course.lap, contender), limit_s)
    return found


def _first_run_differences(limit: Star, found: Star) -> tuple[str, ...]:
    """Compares the versions of the first run. Dimensions have the latest state only."""
    facts = {star.name: limit[star.name] for star in star_tables() if star.is_fact}
    return exactness.differences(facts, found, where="_sequence = 1")


def _rows(run: Manifest) -> int:
    return sum(capture.rows for capture in run.tables.values())


def _result(
    contender: Contender, laps: Laps, rows: int, found: tuple[str, ...]
) -> Result | Failure:
    return measure.summary(contender.name, laps, rows=rows, exact=not found, note="; ".join(found))


def _tell_results(scale: _Scale) -> None:
    print(f"{scale.orders:,} orders, and as many transactions and payments")
    print(measure.results_table(scale.results))
    print()
    print(
        measure.table(
            ("of the last run", "session s", "build s", "rows written", "MB read", "MB written"),
            [
                (
                    name,
                    f"{report.session_s:.2f}",
                    f"{report.build_s:.2f}",
                    f"{report.rows:,}",
                    f"{report.bytes_read / 1e6:,.1f}",
                    f"{report.bytes_written / 1e6:,.1f}",
                )
                for name, report in scale.reports.items()
            ],
        )
    )
    print(flush=True)


if __name__ == "__main__":
    main()
