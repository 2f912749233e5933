"""`python -m benchmarks.load --rows N`: prints tables, then one line of JSON."""

import argparse
import sys
from collections.abc import Sequence
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
    limit,
    ours,
    peers,
    write_binary,
)
from benchmarks.load.warehouse import (
    Digest,
    await_run,
    copy_database,
    settle,
    take_digest,
)
from benchmarks.measure import Contender, Failure, Result, Usage
from benchmarks.workshop import workshop
from local.arguments import whole_number
from local.cloud.server import LocalCloud
from local.postgres import PostgresServer
from local.stack import JARS

_CHANGED_ROWS = 20_000
_INCREMENT = 10
"""How many times the facts of a large increment all facts are."""
_TIMES_AS_MANY = 5
"""How many times the first facts all of them are. The peers load the first ones only."""
# The time-out as a multiple of the limit, in addition to the start of a JVM.
_TIMES_THE_LIMIT = 3
_SECONDS_TO_START = 60.0
_SECONDS_OF_OURS = 3600.0
# A large race is run once, a small one several times: noise matters less in a long run.
_ROWS_OF_A_SHORT_RACE = 200_000
_EMPTY, _FILLED, _AWAITING = "empty", "filled", "awaiting"


@dataclass(frozen=True)
class _Race:
    """The input and output of a race.

    Attributes:
        what: Its name.
        base: The database that is copied for each contender.
        facts: The path of the facts' files, without the suffix.
        first: The number of the first record.
        rows: The number of records.
        others: The contenders other than the limit.
    """

    what: str
    base: str
    facts: Path
    first: int
    rows: int
    others: tuple[Contender, ...]


@dataclass(frozen=True)
class _Track:
    """The place where races are run, and the rounds of a small one."""

    server: PostgresServer
    cloud: LocalCloud
    folder: Path
    rounds: int

    def course(self, url: str, facts: Path, timeout_s: float = _SECONDS_OF_OURS) -> Course:
        """Returns the environment of a command: the warehouse, the facts, the local cloud."""
        variables = {**self.cloud.environment(), FACTS_VARIABLE: str(facts)}
        return Course(url, self.folder, timeout_s, variables)


def main() -> None:
    """Measures, prints, and removes everything except Spark's JDBC driver."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    rows, times = whole_number(_TIMES_AS_MANY), whole_number(1)
    parser.add_argument("--rows", type=rows, default=10_000_000, help="how many facts there are")
    parser.add_argument("--rounds", type=times, default=3, help="of a small race")
    options = parser.parse_args()
    with workshop("load") as folder:
        _benchmark(options.rows, options.rounds, folder)


def _benchmark(rows: int, rounds: int, folder: Path) -> None:
    cloud = LocalCloud(folder / "cloud", JARS)
    with server(folder) as warehouses:
        try:
            cloud.start()
            track = _Track(warehouses, cloud, folder, rounds)
            tell(f"preparing {rows:,} facts")
            _prepare(track, rows)
            few = f"first {rows // _TIMES_AS_MANY:,}"
            races = [
                _run(track, _first_race(folder / "first", few, rows // _TIMES_AS_MANY)),
                _run(track, _race_of_all(folder / "all", f"first {rows:,}", rows)),
            ]
            _fill(track)
            races += [_run(track, race) for race in _races_of_changes(folder, rows)]
            postgresql = version(warehouses.dsn())
        finally:
            cloud.stop()
    results = [line for race in races for line in race]
    print("\n\n".join([*map(measure.results_table, races), _what_ours_promises(results)]))
    measure.finish(
        "load",
        results,
        rows=rows,
        first_rows=rows // _TIMES_AS_MANY,
        changed_rows=_CHANGED_ROWS,
        increment_rows=_CHANGED_ROWS + rows // _INCREMENT,
        versions={
            "postgresql": postgresql,
            "pipeline": measure.versions(OUR_PACKAGES, Path(sys.prefix)),
            "peers": measure.versions(PEERS_PACKAGES, PEERS_ENVIRONMENT),
        },
    )


def _first_race(facts: Path, what: str, rows: int) -> _Race:
    others = (ours(what, prepare.FIRST), *peers(facts, what))
    return _Race(what, _EMPTY, facts, 1, rows, others)


def _race_of_all(facts: Path, what: str, rows: int) -> _Race:
    others = (ours(what, prepare.ALL), ours(what, prepare.ALL, "in-steps"))
    return _Race(what, _EMPTY, facts, 1, rows, others)


def _races_of_changes(folder: Path, rows: int) -> tuple[_Race, ...]:
    """Returns races of a few changes, to a table with all facts and to none; and of many."""
    into, alone = f"{_CHANGED_ROWS:,} into {rows:,}", f"{_CHANGED_ROWS:,} into none"
    few, large = folder / "changed", _CHANGED_ROWS + rows // _INCREMENT
    many = f"{large:,} into {rows:,}"
    return (
        _Race(
            into,
            _FILLED,
            few,
            rows + 1,
            _CHANGED_ROWS,
            (
                *(ours(into, prepare.CHANGED, *how) for how in ((), ("warm",), ("row-by-row",))),
                *peers(few, into),
            ),
        ),
        _Race(alone, _AWAITING, few, rows + 1, _CHANGED_ROWS, (ours(alone, prepare.CHANGED),)),
        _Race(
            many,
            _FILLED,
            folder / "many",
            rows + 1,
            large,
            (ours(many, prepare.MANY), ours(many, prepare.MANY, "row-by-row")),
        ),
    )


def _prepare(track: _Track, rows: int) -> None:
    """Creates the lake, the files, and a warehouse with the dimensions."""
    url = track.server.create_database(_EMPTY)
    command = (sys.executable, "-m", "benchmarks.load.prepare")
    numbers = (rows // _TIMES_AS_MANY, rows, _CHANGED_ROWS, rows // _INCREMENT)
    arguments = (*(str(number) for number in numbers), str(track.folder))
    track.course(url, track.folder).run(Contender("preparing", (*command, *arguments)))
    settle(url)


def _fill(track: _Track) -> None:
    """Creates a warehouse with all facts, and one without facts that expects the changes."""
    url = copy_database(track.server, _EMPTY, _FILLED)
    track.course(url, track.folder).run(ours("to go on from", prepare.ALL))
    settle(url)
    await_run(copy_database(track.server, _EMPTY, _AWAITING), prepare.CHANGED)


def _run(track: _Track, race: _Race) -> list[Result | Failure]:
    """Returns the lines of a race's contenders."""
    of_limit = limit(race.facts, race.what)
    found: dict[str, Digest] = {}
    timeout_s = _SECONDS_OF_OURS

    def lap(contender: Contender) -> Usage:
        nonlocal timeout_s
        own = copy_database(track.server, race.base, "lap")
        try:
            usage = track.course(own, race.facts, timeout_s).run(contender)
            if contender == of_limit and not found:
                timeout_s = _SECONDS_TO_START + _TIMES_THE_LIMIT * usage.wall_s
                track.course(own, race.facts).run(write_binary(race.facts, race.first))
            if contender.name not in found:
                found[contender.name] = take_digest(own, race.first)
        finally:
            track.server.drop_database("lap")
        return usage

    rounds = track.rounds if race.rows < _ROWS_OF_A_SHORT_RACE else 1
    laps = measure.race(of_limit, race.others, lap, rounds=rounds)
    expected = found[of_limit.name]
    line = partial(measure.summary, rows=race.rows)
    return [
        line(one, own)
        if one == of_limit.name or one not in found
        else line(one, own, exact=found[one] == expected, note=_note(found[one], expected))
        for one, own in laps.items()
    ]


def _what_ours_promises(results: Sequence[Result | Failure]) -> str:
    """Returns our peaks, and the comparison of the two loads of the same changes."""
    mine = [one for one in results if isinstance(one, Result) and one.name.startswith("ours")]
    seconds = {one.name: one.wall_s for one in mine}
    lines = ["peak memory", *(f"{one.name}: {one.peak_mb:.0f} MB" for one in mine)]
    changes = [name for name in seconds if name.startswith(f"ours ({_CHANGED_ROWS:,}")]
    if len(changes) == len(("into all", "into none")):
        ratio = seconds[changes[0]] / seconds[changes[1]]
        lines.append(f"{_CHANGED_ROWS:,} rows take {ratio:.2f} of their time into an empty table")
    return "\n".join(lines)


def _note(found: Digest, expected: Digest) -> str:
    if found.rows != expected.rows:
        return f"{found.rows} rows instead of {expected.rows}"
    if found.rules != expected.rules:
        return f"{found.rules} constraints instead of {expected.rules}"
    return "" if found == expected else "values differ"


if __name__ == "__main__":
    main()
