"""Installs pinned requirements into an environment: `local/install.py <environment> <file>`.

One process at a time installs into an environment; another one waits, and finds it done. An
environment that was moved is installed again: its programs begin with the path of its Python.

It runs on whatever Python 3 there is, as the environment is not there yet. The pins are complete,
so pip does not resolve (--no-deps). AWS publishes awsglue for Glue's own Python versions only, 3.11
and 3.13: on 3.12 its limit is ignored.
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

_READ_BY_ALL = 0o022
"""Where root runs PostgreSQL, another user executes what pip has installed."""
_PIP = (
    *("-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
    *("--no-deps", "--require-hashes", "--ignore-requires-python", "--requirement"),
)


def main(environment: Path, requirements: Path) -> int:
    """Installs what is not installed, and returns the exit code of what failed, or 0."""
    environment.mkdir(exist_ok=True)
    folder = os.open(environment, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        return _install(environment, requirements)
    finally:
        os.close(folder)


def _install(environment: Path, requirements: Path) -> int:
    stamp, place = environment / ".installed", str(environment.resolve())
    # A stamp without a place is one of an earlier version.
    is_moved = stamp.exists() and stamp.read_text() not in ("", place)
    if stamp.exists() and not is_moved and _is_newer(stamp, requirements):
        return 0
    sys.stdout.write(f"Installing {requirements} into {environment}\n")
    sys.stdout.flush()
    again = ("--force-reinstall",) if is_moved else ()
    own = str(environment / "bin" / "python")
    code = _run(sys.executable, "-m", "venv", place) or _run(own, *_PIP, str(requirements), *again)
    if not code:
        stamp.write_text(place)
    return code


def _is_newer(stamp: Path, requirements: Path) -> bool:
    return stamp.stat().st_mtime >= requirements.stat().st_mtime


def _run(*command: str) -> int:
    os.umask(_READ_BY_ALL)
    return subprocess.run(command, check=False).returncode  # noqa: S603  # nosec B603


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
