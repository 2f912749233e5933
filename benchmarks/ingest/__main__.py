"""`python -m benchmarks.ingest --rows N`: prints tables, then one line of JSON."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks import measure
from benchmarks.ingest import exactness, incremental
from benchmarks.ingest.contenders.task import KEY, TABLE
from benchmarks.ingest.course import Course, tell
from benchmarks.ingest.entries import LIMIT, OURS, PEERS, PEERS_ENVIRONMENT, PEERS_PACKAGES
from benchmarks.ingest.exactness import Comparison
from benchmarks.ingest.incremental import Step
from benchmarks.ingest.source import fill, server, version
from benchmarks.measure import CommandFailed, Contender, Failure, Laps, Result, Usage
from benchmarks.workshop import workshop
from local.arguments import whole_number

_PART = 10
# The time-out as a multiple of the limit, in addition to the start of a JVM.
_TIMES_THE_LIMIT = 40
_SECONDS_TO_START = 120.0
_SECONDS_OF_OURS = 3600.0


@dataclass(frozen=True)
class Peak:
    """A contender's peak memory, with a part of the rows and with all rows."""

    name: str
    part_mb: int
    whole_mb: int


def main() -> None:
    """Measures, prints, and removes everything except Spark's JDBC driver."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest")
    number = whole_number(_PART)
    parser.add_argument("--rows", type=number, default=10_000_000, help="the size of the table")
    rows: int = parser.parse_args().rows
    with workshop("ingest") as folder:
        _benchmark(rows, folder)


def _benchmark(rows: int, folder: Path) -> None:
    with server(folder) as source:
        tell(f"filling {TABLE} with {rows:,} rows")
        url = source.create_database("totesys")
        fill(url, rows)
        part_url = source.create_database("part")
        fill(part_url, rows // _PART)
        laps, comparisons = _race(url, folder)
        peaks = _peaks(part_url, folder, laps)
        steps = _incremental(url, folder)
        postgresql = version(url)
    results = [_result(name, own, rows, comparisons.get(name)) for name, own in laps.items()]
    print(measure.results_table(results))
    print(f"\npeak memory at {rows // _PART:,} and at {rows:,} rows")
    for peak in peaks:
        print(
            f"{peak.name}: could not run: {peak.error}"
            if isinstance(peak, Failure)
            else f"{peak.name}: {peak.part_mb} and {peak.whole_mb} MB"
        )
    print()
    print(
        f"incremental: could not run: {steps.error}"
        if isinstance(steps, Failure)
        else incremental.steps_table(steps)
    )
    measure.finish(
        "ingest",
        [*results, steps] if isinstance(steps, Failure) else results,
        rows=rows,
        memory={"rows_part": rows // _PART, "peaks": [asdict(peak) for peak in peaks]},
        incremental=asdict(steps)
        if isinstance(steps, Failure)
        else [asdict(step) for step in steps],
        versions={
            "postgresql": postgresql,
            "pyspark": measure.versions(("pyspark",), Path(sys.prefix))["pyspark"],
            **measure.versions(PEERS_PACKAGES, PEERS_ENVIRONMENT),
        },
    )


def _race(url: str, folder: Path) -> tuple[dict[str, Laps], dict[str, Comparison]]:
    """Returns each contender's runs, and the comparison of its output with the source."""
    tell("taking the reference")
    reference = exactness.take_reference(url, TABLE, KEY, folder)
    # Otherwise the first contender would warm the server's cache for the others.
    warming = Course(url, folder, _SECONDS_OF_OURS).run(LIMIT)
    course = Course(url, folder, _SECONDS_TO_START + _TIMES_THE_LIMIT * warming.wall_s)
    comparisons: dict[str, Comparison] = {}

    def keep(contender: Contender, output: Path) -> None:
        if contender is not LIMIT and contender.name not in comparisons:
            comparisons[contender.name] = exactness.compare(reference, output)

    def lap(contender: Contender) -> Usage:
        return course.run(contender, partial(keep, contender))

    laps = measure.race(LIMIT, (*OURS, *PEERS), lap)
    reference.path.unlink()
    return laps, comparisons


def _result(name: str, laps: Laps, rows: int, comparison: Comparison | None) -> Result | Failure:
    if comparison is None:
        return measure.summary(name, laps, rows=rows)
    notes = comparison.differences or comparison.narrower
    exact = not comparison.differences
    return measure.summary(name, laps, rows=rows, exact=exact, note="; ".join(notes))


def _peaks(part_url: str, folder: Path, laps: Mapping[str, Laps]) -> list[Peak | Failure]:
    """Returns our peaks with a part of the rows and with all rows."""
    course = Course(part_url, folder, _SECONDS_OF_OURS)
    return [_peak(contender, course, laps[contender.name]) for contender in OURS]


def _peak(contender: Contender, course: Course, laps: Laps) -> Peak | Failure:
    if laps.error is not None:
        return Failure(contender.name, laps.error)
    try:
        part = course.run(contender)
    except CommandFailed as error:
        return Failure(contender.name, str(error))
    whole = max(usage.peak_mb for usage in laps.usages)
    return Peak(contender.name, round(part.peak_mb), round(whole))


def _incremental(url: str, folder: Path) -> tuple[Step, ...] | Failure:
    try:
        return incremental.measure(url, folder)
    except (CommandFailed, RuntimeError) as error:
        return Failure("ours (incremental)", str(error))


if __name__ == "__main__":
    main()
