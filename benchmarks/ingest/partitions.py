"""`python -m benchmarks.ingest.partitions --rows N`: a partitioned table beside a plain one."""

import argparse
import statistics
from pathlib import Path
from typing import Final

from benchmarks.ingest import incremental
from benchmarks.ingest.course import Course, tell
from benchmarks.ingest.entries import OURS
from benchmarks.ingest.source import fill, server
from benchmarks.workshop import workshop
from local.arguments import whole_number

PARTITIONS: Final = 24
_ROUNDS = 3
_SECONDS = 3600.0
_READERS = OURS[-1]


def main() -> None:
    """Reads both tables in turns, then ingests after changes of each, and prints the outcome."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest.partitions")
    number = whole_number(PARTITIONS)
    parser.add_argument("--rows", type=number, default=10_000_000, help="the size of each table")
    rows: int = parser.parse_args().rows
    with workshop("ingest-partitions") as folder:
        _benchmark(rows, folder)


def _benchmark(rows: int, folder: Path) -> None:
    with server(folder) as source:
        urls = {name: source.create_database(name) for name in ("plain", "partitioned")}
        for name, url in urls.items():
            tell(f"filling a {name} table with {rows:,} rows")
            fill(url, rows, PARTITIONS if name == "partitioned" else 0)
        courses = {name: Course(url, folder, _SECONDS) for name, url in urls.items()}
        # The first round warms the server's cache.
        rounds = [
            {name: course.run(_READERS).wall_s for name, course in courses.items()}
            for _ in range(_ROUNDS + 1)
        ][1:]
        ratio = statistics.median(one["partitioned"] / one["plain"] for one in rounds)
        for name in urls:
            seconds = statistics.median(one[name] for one in rounds)
            print(f"{name}: {seconds:.2f} s, {_READERS.name}")
        print(f"{PARTITIONS} partitions: {ratio:.2f} of the plain table's time")
        for name, url in urls.items():
            own = folder / name
            own.mkdir()
            print(f"\n{name}")
            print(incremental.steps_table(incremental.measure(url, own)))


if __name__ == "__main__":
    main()
