"""`python -m benchmarks --rows N`: runs every benchmark small, and fails unless ours are exact."""

import argparse
import subprocess
import sys
import time
from typing import Final

from benchmarks.build.business import CHANGED_PART
from benchmarks.history.captures import LEAST_RUNS
from local.arguments import whole_number

BENCHMARKS: Final = ("ingest", "build", "load", "dashboard")
"""Those whose size is a number of rows."""


def main() -> int:
    """Runs the benchmarks one after another; returns 1 if one fails or one of ours is not exact."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    # The least of the benchmark that needs most.
    number = whole_number(CHANGED_PART)
    parser.add_argument("--rows", type=number, default=20_000, help="the size of each benchmark")
    rows = str(parser.parse_args().rows)
    # To see that all are exact, one round is enough.
    sizes = dict.fromkeys(BENCHMARKS, ("--rows", rows)) | {
        "build": ("--rows", rows, "--laps", "1"),
        "load": ("--rows", rows, "--rounds", "1"),
        "history": ("--runs", str(LEAST_RUNS), "--builds", "1"),
    }
    failed = [name for name, size in sizes.items() if _run(name, *size)]
    print(f"failed: {', '.join(failed)}" if failed else "every benchmark ran, and ours are exact")
    return 1 if failed else 0


def _run(benchmark: str, *size: str) -> int:
    print(f"\nbench-{benchmark} {' '.join(size)}", flush=True)
    began = time.monotonic()
    command = [sys.executable, "-m", f"benchmarks.{benchmark}", *size]
    code = subprocess.run(command, check=False).returncode  # noqa: S603
    print(f"bench-{benchmark} took {time.monotonic() - began:.0f} s", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
