"""Runs a command and writes a report of its resources: `python -I -S launcher.py REPORT COMMAND…`.

It is small for a reason. Linux includes in a process's peak the memory of the process that it was
forked from, so a command that is started from here has its own peak.
"""

import json
import os
import sys
import time

_SIGNALLED = 128


def main() -> int:
    """Runs the command, writes the report as JSON, and returns the exit code as a shell has it."""
    report, *command = sys.argv[1:]
    began = time.monotonic()
    process = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(process, 0)
    wall = time.monotonic() - began
    # getrusage(2): Linux counts in kilobytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    with open(report, "w") as file:  # noqa: PTH123 - pathlib would double what this process holds
        json.dump(
            {
                "wall_s": wall,
                "cpu_s": usage.ru_utime + usage.ru_stime,
                "peak_mb": usage.ru_maxrss * unit / 1e6,
            },
            file,
        )
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else _SIGNALLED - code


if __name__ == "__main__":
    sys.exit(main())
