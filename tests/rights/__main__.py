"""Records the calls of the end-to-end suite in tests/rights/calls.jsonl: `make record-calls`."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from local.cloud.calls import RECORDED_CALLS
from tests.rights.replay import RECORDED, calls_of
from tests.template import ROOT


def main() -> int:
    """Runs the suite, and records its calls if it passes; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / RECORDED.name
        command = ("-m", "pytest", "--no-cov", "--quiet", "tests/end_to_end")
        done = subprocess.run(
            [sys.executable, *command, "--deselect", "tests/end_to_end/test_rights.py"],
            cwd=ROOT,
            env=os.environ | {RECORDED_CALLS: str(file)},
            check=False,
        )
        if done.returncode == 0:
            RECORDED.write_text("".join(call.as_line() for call in calls_of(file)))
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
