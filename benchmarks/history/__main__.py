"""`python -m benchmarks.history --runs N`: prints tables, then one line of JSON."""

import argparse
import os
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import boto3
import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks import measure
from benchmarks.build import exactness
from benchmarks.build.business import (
    LAKE_BUCKET,
    ORDERS_AT_SCALE_ONE,
    RAW_BUCKET,
    Business,
    business,
)
from benchmarks.build.contenders.task import FOLDER_VARIABLE, TASK_VARIABLE, Task, read_report
from benchmarks.build.session_settings import write_defaults
from benchmarks.history.captures import LEAST_RUNS, SHORT, WINDOW, Captures, Cost, Extent
from benchmarks.ingest.course import tell
from benchmarks.workshop import workshop
from lambdas.load.lake import Lake, glue_catalog
from lambdas.load.load import load
from lambdas.load.plan import source_changed
from lambdas.load.source_fingerprints import SourceFingerprints
from lambdas.load.verify import verify
from local.arguments import whole_number
from pipeline.manifest import ManifestStore
from pipeline.requests import LoadRequest
from star_schema.tables import star_tables

_SECONDS_OF_A_BUILD: Final = 7200.0
_SECONDS_OF_AN_INVOCATION: Final = 900.0
_DATABASE: Final = "star"
_SHORT_DATABASE: Final = "short"
_PACKAGES: Final = ("pyspark", "duckdb", "psycopg")


@dataclass(frozen=True)
class Step:
    """A measurement, beside its limit.

    Attributes:
        what: What was measured.
        before: Its figure in the short history; None if there is none.
        after: Its figure in the long history.
        limit: The greatest ratio of the two; None if there is none.
    """

    what: str
    before: float | None
    after: float
    limit: float | None = None

    @property
    def ratio(self) -> float | None:
        """The figure in the long history, as a multiple of that in the short one."""
        return self.after / self.before if self.before else None


def main() -> int:
    """Makes a history, measures its start and its end; returns 1 if the rebuild is not exact."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history")
    runs, builds = whole_number(LEAST_RUNS), whole_number(1)
    parser.add_argument("--runs", type=runs, default=2_000, help="runs of the history")
    parser.add_argument("--builds", type=builds, default=5, help="measured at each end of it")
    options = parser.parse_args()
    with (
        workshop("history") as folder,
        business(folder, ORDERS_AT_SCALE_ONE, os.environ.update) as made,
        closing(Captures(made)) as captures,
    ):
        course = _Course(made, captures, folder, options.builds)
        steps: list[Step] = []
        for part in (course.captured, course.built, course.loaded):
            for step in part(options.runs):
                # A long history takes hours: what a later part loses has been told.
                tell("  ".join(_cells(step)))
                steps.append(step)
        extents = course.maintained()
    _tell_results(options.runs, steps, course.differences, extents)
    return 1 if course.differences else 0


class _Course:
    """One history, and what is measured of it."""

    def __init__(self, made: Business, captures: Captures, folder: Path, builds: int) -> None:
        write_defaults(folder, made.cloud.endpoint_url, LAKE_BUCKET)
        boto3.client("glue").create_database(DatabaseInput={"Name": _DATABASE})
        self._made = made
        self._captures = captures
        self._folder = folder
        self._builds = builds
        self._glue = boto3.client("glue")
        self.differences: tuple[str, ...] = ()

    def captured(self, runs: int) -> list[Step]:
        """Captures every run of the history."""
        for _ in range(SHORT):
            self._captures.run()
        extent = Extent.of(self._made.client, RAW_BUCKET)
        costs = []
        for number in range(SHORT + 1, runs + 1):
            costs.append(self._captures.run())
            if number % 500 == 0:
                tell(f"{number:,} runs")
        grown = Extent.of(self._made.client, RAW_BUCKET)
        first, last = Cost.of(costs[:WINDOW]), Cost.of(costs[-WINDOW:])
        more = runs - SHORT
        return [
            Step("requests of an ingest", first.requests, last.requests, 1.1),
            Step("seconds of an ingest", first.seconds, last.seconds, 1.1),
            Step("objects of the raw zone a run", None, (grown.objects - extent.objects) / more),
            Step("bytes of the raw zone a run", None, (grown.size - extent.size) / more),
        ]

    def built(self, runs: int) -> list[Step]:
        """Builds run by run at both ends of the history, and rebuilds a tenth and all of it.

        The builds at its start, in a lake of their own, and those at its end take turns.
        """
        self._glue.create_database(DatabaseInput={"Name": _SHORT_DATABASE})
        for database in (_SHORT_DATABASE, _DATABASE):
            self._build(database, SHORT)
        before_last = runs - self._builds
        waited = self._build(_DATABASE, before_last)
        first: list[float] = []
        last: list[float] = []
        for more in range(1, self._builds + 1):
            first.append(self._build(_SHORT_DATABASE, SHORT + more))
            last.append(self._build(_DATABASE, before_last + more))
        tenth = self._rebuild("tenth", runs // 10)
        whole = self._rebuild("whole", runs)
        self.differences = exactness.differences(
            self._star(_DATABASE, "built"), self._star("whole", "rebuilt")
        )
        return [
            Step("seconds of a build", statistics.median(first), statistics.median(last), 1.1),
            Step("seconds of the build of all that waited", None, waited),
            Step("seconds of a rebuild of a tenth, and of all", tenth, whole, 10.0),
        ]

    def loaded(self, runs: int) -> list[Step]:
        """Loads the rebuilt star schema into an empty warehouse, and proves it equal."""
        client = self._made.client
        with psycopg.connect(self._made.dsn, autocommit=True) as connection:
            connection.execute("create database warehouse")
        fingerprints = self._captures.ingest(verify=True).fingerprints or ()
        lake = Lake(glue_catalog(client, boto3.Session().get_credentials()), _DATABASE)
        warehouse = make_conninfo(self._made.dsn, dbname="warehouse")
        with psycopg.connect(warehouse, autocommit=True) as connection:
            began = time.monotonic()
            load(
                connection,
                lake,
                LoadRequest("benchmark", runs, rebuild=False),
                source_changed(ManifestStore(RAW_BUCKET, client)),
                seconds_left=lambda: _SECONDS_OF_AN_INVOCATION,
            )
            loaded = time.monotonic()
            verify(
                connection,
                lake,
                SourceFingerprints(RAW_BUCKET, client, fingerprints),
                sequence=runs,
                seconds_left=lambda: _SECONDS_OF_AN_INVOCATION,
            )
            verified = time.monotonic()
        return [
            Step("seconds of the load", None, loaded - began),
            Step(
                "seconds of the proof that source and warehouse are equal", None, verified - loaded
            ),
        ]

    def maintained(self) -> dict[str, tuple[Extent, Extent]]:
        """Maintains the star tables; returns each one's objects, and those of its metadata."""
        self._spark("benchmarks.history.maintain", _DATABASE)
        catalog, found = glue_catalog(self._made.client), {}
        for star in star_tables():
            place = urlsplit(catalog.load_table((_DATABASE, star.name)).location())
            prefix = place.path.lstrip("/")
            found[star.name] = (
                Extent.of(self._made.client, place.netloc, f"{prefix}/"),
                Extent.of(self._made.client, place.netloc, f"{prefix}/metadata/"),
            )
        return found

    def _rebuild(self, database: str, through: int) -> float:
        self._glue.create_database(DatabaseInput={"Name": database})
        return self._build(database, through, rebuild=True)

    def _build(self, database: str, through: int, *, rebuild: bool = False) -> float:
        """Builds in a new process, and returns the seconds from the session on."""
        task = Task(RAW_BUCKET, database, through, rebuild=rebuild)
        self._spark("benchmarks.build.contenders.ours", task=task)
        report = read_report(self._folder / "output")
        assert report is not None  # noqa: S101 - a build that ends has written it
        tell(f"build of {database} through {through:,}: {report.build_s:.1f} s")
        return report.build_s

    def _spark(self, module: str, *arguments: str, task: Task | None = None) -> None:
        output = self._folder / "output"
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()
        measure.run(
            [sys.executable, "-m", module, *arguments],
            environment={
                FOLDER_VARIABLE: str(output),
                TASK_VARIABLE: (task or Task()).to_json(),
                "SPARK_CONF_DIR": str(self._folder),
                "SPARK_LOCAL_DIRS": str(output),
                "TMPDIR": str(output),
            },
            folder=output,
            timeout_s=_SECONDS_OF_A_BUILD,
        )

    def _star(self, database: str, name: str) -> exactness.Star:
        return exactness.iceberg_star(self._made.client, database, self._folder / name)


def _tell_results(
    runs: int,
    steps: Sequence[Step],
    differences: Sequence[str],
    extents: dict[str, tuple[Extent, Extent]],
) -> None:
    head = ("of a history", "short", f"{runs:,} runs", "ratio", "limit")
    print(measure.table(head, [_cells(step) for step in steps]))
    print(f"the rebuild is exact: {'no: ' + '; '.join(differences) if differences else 'yes'}")
    print()
    head = ("after maintenance", "objects", "kB", "of metadata", "kB")
    print(
        measure.table(
            head,
            [
                (name, *(f"{n:,}" for one in both for n in (one.objects, one.size // 1000)))
                for name, both in extents.items()
            ],
        )
    )
    print(
        measure.json_line(
            "history",
            [],
            runs=runs,
            steps=[asdict(step) for step in steps],
            exact=not differences,
            tables={name: [asdict(one) for one in both] for name, both in extents.items()},
            versions=measure.versions(_PACKAGES, Path(sys.prefix)),
        )
    )


def _cells(step: Step) -> tuple[str, ...]:
    return (
        step.what,
        "-" if step.before is None else f"{step.before:,.2f}",
        f"{step.after:,.2f}",
        "-" if step.ratio is None else f"{step.ratio:.2f}",
        "-" if step.limit is None else f"{step.limit:.1f}",
    )


if __name__ == "__main__":
    sys.exit(main())
