"""Runs the whole suite in lanes, several side by side: `make test`.

A lane keeps little more than one core busy, and waits for servers now and then. Each lane has its
own local cloud, its own PostgreSQL server and its own coverage data. The data is combined, and the
floor applies to the sum. The rights are judged by recorded calls: the suite fails where it no
longer makes one of them.

Arguments are passed on to pytest in all lanes.
"""

import datetime
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local import browser, spark_jars
from local.cloud.calls import RECORDED_CALLS
from local.deployment import ROOT
from local.stack import JARS
from tests.fixtures.cloud import UNTRACED_CLOUD
from tests.fixtures.tracing import CALLS_ONLY
from tests.rights.aws_calls import AWS_CALLS
from tests.rights.replay import RECORDED, calls_of, use

_FOLDERS: Final = {
    "build": "tests/integration/build",
    "load": "tests/integration/load",
    "ingest": "tests/integration/ingest",
    "deployed": "tests/end_to_end",
    "histories": "tests/integration/build/histories",
    "others": "tests",
    "packages": "tests/integration/packages",
    "unit": "tests/unit",
}
LANES: Final = {
    name: (
        folder,
        *(f"--ignore={other}" for other in _FOLDERS.values() if other.startswith(f"{folder}/")),
    )
    for name, folder in _FOLDERS.items()
}
"""Each lane's folder, without those of other lanes in it, in the order in which the lanes start.

The lanes that start last are short: with them, those that run side by side end together.
"""
_LANES_AT_ONCE: Final = 3
"""How many lanes run side by side. With four at once, the same tests compute for longer."""
_RECORDED_LANE: Final = "deployed"
"""The lane that runs the deployed stack, whose calls to AWS count."""
_TRACED_LANE: Final = "others"
"""The lane whose local cloud is traced for coverage: it has the local cloud's own tests.

In the other lanes the local cloud serves requests and runs functions and jobs, whose code the tests
call in their own processes too: to trace them there takes time, and covers hardly more.
"""
_TRACED_FIXTURES: Final = ("deployed", "others", "packages", "unit")
"""The lanes whose fixtures are traced: they deploy the stack, and serve pages in threads."""
_KEEP_FREED_MEMORY: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TOP_PAD_": str(2**20),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20),
}
"""Settings of glibc for the tests and their database servers: freed memory is used again.

By default large blocks go back to the kernel, which fills the next ones with zeros page by page:
a twentieth of the CPU time of the lanes of ingest and load. Source: mallopt(3).
"""
_NO_TESTS: Final = 5
"""pytest's exit code where the arguments leave a lane without any test."""
_COUNT: Final = re.compile(
    r"(\d+) (failed|passed|skipped|deselected|xfailed|xpassed|warning|error)"
)


@dataclass(frozen=True)
class Lane:
    """A lane that ended: its name, the exit code of pytest, and what pytest wrote."""

    name: str
    code: int
    output: str


def main(arguments: list[str]) -> int:
    """Runs the lanes, and returns 0 if all tests pass and coverage is above the floor."""
    spark_jars.fetch(JARS)
    browser.install()
    start = time.monotonic()
    sys.stdout.write(
        f"{len(LANES)} lanes run, {_LANES_AT_ONCE} at once, and each prints when it ends: "
        f"{', '.join(LANES)}\n"
    )
    sys.stdout.flush()
    ended: list[Lane] = []
    with (
        tempfile.NamedTemporaryFile(suffix=".jsonl") as calls,
        ThreadPoolExecutor(_LANES_AT_ONCE) as threads,
    ):
        running = [threads.submit(_run, lane, arguments, calls.name) for lane in LANES]
        for future in as_completed(running):
            ended.append(future.result())
            sys.stdout.write(f"\nlane {ended[-1].name}:\n{ended[-1].output}")
            sys.stdout.flush()
        is_whole = bool(arguments) or (_is_covered() and _are_made(Path(calls.name)))
    # The last line of all is as pytest's, for all lanes: continuous integration reads it.
    sys.stdout.write(f"{summary(ended, time.monotonic() - start)}\n")
    sys.stdout.flush()
    return 0 if is_whole and not {lane.code for lane in ended} - {0, _NO_TESTS} else 1


def summary(lanes: list[Lane], seconds: float) -> str:
    """Returns pytest's last line for all lanes together."""
    counts: Counter[str] = Counter()
    for lane in lanes:
        for number, outcome in _COUNT.findall(lane.output.rstrip().rpartition("\n")[2]):
            counts[outcome] += int(number)
    told = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
    clock = datetime.timedelta(seconds=int(seconds))
    return f" {told or 'no tests ran'} in {seconds:.2f}s ({clock}) ".center(80, "=")


def _run(lane: str, arguments: list[str], calls: str) -> Lane:
    command = ("-m", "pytest", "--cov", "--cov-fail-under=0", "--cov-report=", "--durations=15")
    settings = {
        "COVERAGE_FILE": str(_data(lane)),
        RECORDED_CALLS: calls if lane == _RECORDED_LANE else "",
        UNTRACED_CLOUD: "" if lane == _TRACED_LANE else "1",
        CALLS_ONLY: "" if lane in _TRACED_FIXTURES else "1",
    }
    done = subprocess.run(
        [sys.executable, *command, *LANES[lane], *arguments],
        cwd=ROOT,
        env=os.environ | _KEEP_FREED_MEMORY | settings,
        stdout=subprocess.PIPE,
        check=False,
    )
    return Lane(lane, done.returncode, done.stdout.decode(errors="replace"))


def _data(lane: str) -> Path:
    return ROOT / f".coverage.{lane}"


def _is_covered() -> bool:
    """Combines the lanes' coverage, reports it, and returns whether it reaches the floor."""
    coverage = (sys.executable, "-m", "coverage")
    files = [str(_data(lane)) for lane in LANES]
    steps = ([*coverage, "combine", *files], [*coverage, "report"])
    return all(subprocess.run(step, cwd=ROOT, check=False).returncode == 0 for step in steps)


def _are_made(calls: Path) -> bool:
    """Returns whether the suite made all recorded calls; reports the others."""
    made = {use(call) for call in calls_of(calls)}
    rare = {use(call) for call in AWS_CALLS}
    others = sorted({use(call) for call in calls_of(RECORDED)} - made - rare)
    if others:
        sys.stdout.write(f"\nno longer called, run `make record-calls`: {others}\n")
    return not others


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
