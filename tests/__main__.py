"""Runs the whole suite in two lanes, side by side: `make test`.

The lane `spark` computes. The other lane mostly waits for servers. Each lane has its own local
cloud and its own coverage data. The data is combined, and the floor applies to the sum. The rights
are judged by recorded calls: the suite fails where it no longer makes one of them.

Arguments are passed on to pytest in both lanes.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Final

from local import browser, spark_jars
from local.cloud.calls import RECORDED_CALLS
from local.deployment import ROOT
from local.stack import JARS
from tests.rights.aws_calls import AWS_CALLS
from tests.rights.replay import RECORDED, calls_of, use

_SPARK: Final = ("tests/integration/build", "tests/end_to_end")
LANES: Final = {
    "spark": _SPARK,
    "others": ("tests", *(f"--ignore={folder}" for folder in _SPARK)),
}
_NO_TESTS: Final = 5
"""pytest's exit code where the arguments leave a lane without any test."""


def main(arguments: list[str]) -> int:
    """Runs the lanes, and returns 0 if all tests pass and coverage is above the floor."""
    spark_jars.fetch(JARS)
    browser.install()
    with (
        tempfile.NamedTemporaryFile(suffix=".jsonl") as calls,
        tempfile.TemporaryFile("w+", encoding="utf-8") as output,
    ):
        spark = _start("spark", arguments, calls=calls.name)
        others = _start("others", arguments, stdout=output)
        codes = {spark.wait(), others.wait()}
        is_whole = bool(arguments) or (_is_covered() and _are_made(Path(calls.name)))
        output.seek(0)
        # The last line of all is the summary of pytest, which continuous integration reads.
        sys.stdout.write(f"\nthe other tests:\n{output.read()}")
        sys.stdout.flush()
    return 0 if is_whole and not codes - {0, _NO_TESTS} else 1


def _start(
    lane: str, arguments: list[str], stdout: IO[str] | None = None, calls: str = ""
) -> "subprocess.Popen[bytes]":
    command = ("-m", "pytest", "--cov", "--cov-fail-under=0", "--cov-report=", "--durations=15")
    return subprocess.Popen(
        [sys.executable, *command, *LANES[lane], *arguments],
        cwd=ROOT,
        env=os.environ | {"COVERAGE_FILE": str(_data(lane)), RECORDED_CALLS: calls},
        stdout=stdout,
    )


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
