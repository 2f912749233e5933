"""`python -m benchmarks.load --rows N`: prints a table and, last of all, one line of JSON."""

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import measure
from benchmarks.ingest.course import Course, tell
from benchmarks.ingest.entries import PEERS_ENVIRONMENT
from benchmarks.ingest.source import server, version
from benchmarks.load import prepare
from benchmarks.load.contenders.task import FACTS_VARIABLE
from benchmarks.load.entries import (
    OUR_PACKAGES,
    PEERS_PACKAGES,
    contenders,
    limit,
    write_binary,
)
from benchmarks.load.warehouse import (
    Digest,
    copy_database,
    settle,
    take_digest,
)
from benchmarks.measure import CommandFailed, Contender, Failure, Result, Usage
from local.cloud.server import LocalCloud
from local.postgres import PostgresError, PostgresServer
from local.stack import JARS

_STATE = measure.ROOT / ".local"
_CHANGED_ROWS = 20_000
# What needs more than this, beside the seconds that a JVM takes to start, need not end.
_TIMES_THE_LIMIT = 6
_SECONDS_TO_START = 60.0
_SECONDS_OF_OURS = 3600.0
# A limit that takes longer than this runs once, not thrice: noise is small beside it.
_SECONDS_OF_A_SHORT_LIMIT = 10.0
_ROUNDS = 3
_EMPTY, _FILLED = "empty", "filled"


@dataclass(frozen=True)
class _Race:
    """What is loaded, and into what.

    Attributes:
        what: Its name.
        base: The database that every contender gets a copy of.
        facts: The files of the facts, without the suffix.
        sequence: The run that brings the same facts in the lake.
        first: The first record's number.
        rows: How many records.
    """

    what: str
    base: str
    facts: Path
    sequence: int
    first: int
    rows: int


@dataclass(frozen=True)
class _Track:
    """Where the races are run."""

    server: PostgresServer
    cloud: LocalCloud
    folder: Path

    def course(self, url: str, facts: Path, timeout_s: float = _SECONDS_OF_OURS) -> Course:
        """Returns how a command gets at a warehouse, the facts, and the local cloud."""
        variables = {**self.cloud.environment(), FACTS_VARIABLE: str(facts)}
        return Course(url, self.folder, timeout_s, variables)


def main() -> None:
    """Measures, prints, and leaves nothing behind but Spark's JDBC driver."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    parser.add_argument("--rows", type=int, default=2_000_000, help="how many facts come first")
    rows: int = parser.parse_args().rows
    if rows < 1:
        parser.error("--rows has to be 1 or more")
    _STATE.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="benchmark-load-", dir=_STATE))
    with measure.ending_in_order():
        try:
            _benchmark(rows, folder)
        except KeyboardInterrupt:
            sys.exit("interrupted: what was started has been stopped and removed")
        except (CommandFailed, PostgresError, RuntimeError) as error:
            sys.exit(f"the benchmark could not run: {error}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _benchmark(rows: int, folder: Path) -> None:
    cloud = LocalCloud(folder / "cloud", JARS)
    with server(folder) as warehouses:
        try:
            cloud.start()
            track = _Track(warehouses, cloud, folder)
            first = _Race("first load", _EMPTY, folder / "first", prepare.FIRST, 1, rows)
            changed = _Race(
                f"{_CHANGED_ROWS:,} changed rows",
                _FILLED,
                folder / "changed",
                prepare.CHANGED,
                rows + 1,
                _CHANGED_ROWS,
            )
            tell(f"preparing {rows:,} facts")
            _prepare(track, first)
            results = _run(track, first)
            _fill(track, first)
            results += _run(track, changed)
            postgresql = version(warehouses.dsn())
        finally:
            cloud.stop()
    print(measure.results_table(results))
    print(
        measure.json_line(
            "load",
            results,
            rows=rows,
            changed_rows=_CHANGED_ROWS,
            versions={
                "postgresql": postgresql,
                "pipeline": measure.versions(OUR_PACKAGES, Path(sys.prefix)),
                "peers": measure.versions(PEERS_PACKAGES, PEERS_ENVIRONMENT),
            },
        )
    )


def _prepare(track: _Track, first: _Race) -> None:
    """Makes the lake, the files, and a warehouse that has the dimensions."""
    url = track.server.create_database(_EMPTY)
    command = (sys.executable, "-m", "benchmarks.load.prepare")
    arguments = (str(first.rows), str(_CHANGED_ROWS), str(track.folder))
    track.course(url, first.facts).run(Contender("preparing", (*command, *arguments)))
    settle(url)


def _fill(track: _Track, first: _Race) -> None:
    """Makes a warehouse that has the first facts, by ours."""
    url = copy_database(track.server, first.base, _FILLED)
    ours, *_ = contenders(first.facts, "to go on from", first.sequence)
    track.course(url, first.facts).run(ours)
    settle(url)


def _run(track: _Track, race: _Race) -> list[Result | Failure]:
    """Returns the lines of all who take part in a race."""
    of_limit = limit(race.facts, race.what)
    name = "expected"
    url = copy_database(track.server, race.base, name)
    warming = track.course(url, race.facts).run(of_limit)
    track.course(url, race.facts).run(write_binary(race.facts, race.first))
    expected = take_digest(url)
    track.server.drop_database(name)
    timeout_s = _SECONDS_TO_START + _TIMES_THE_LIMIT * warming.wall_s
    found: dict[str, Digest] = {}

    def lap(contender: Contender) -> Usage:
        own = copy_database(track.server, race.base, "lap")
        try:
            usage = track.course(own, race.facts, timeout_s).run(contender)
            if contender.name not in found:
                found[contender.name] = take_digest(own)
        finally:
            track.server.drop_database("lap")
        return usage

    laps = measure.race(
        of_limit,
        contenders(race.facts, race.what, race.sequence),
        lap,
        rounds=_ROUNDS if warming.wall_s < _SECONDS_OF_A_SHORT_LIMIT else 1,
    )
    line = partial(measure.summary, rows=race.rows)
    return [
        line(one, own)
        if one == of_limit.name or one not in found
        else line(one, own, exact=found[one] == expected, note=_note(found[one], expected))
        for one, own in laps.items()
    ]


def _note(found: Digest, expected: Digest) -> str:
    if found.rows != expected.rows:
        return f"{found.rows} rows instead of {expected.rows}"
    if found.rules != expected.rules:
        return f"{found.rules} constraints instead of {expected.rules}"
    return "" if found == expected else "values differ"


if __name__ == "__main__":
    main()
