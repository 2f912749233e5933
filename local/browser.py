"""A headless Chromium, from a package that needs no root, and the accessibility checks of axe.

The versions and the hashes are in requirements/browser. The first use installs them below .local.
The environment variable CHROMIUM names another browser, for systems that the package is not for.
"""

import fcntl
import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import brotli
from playwright.sync_api import Browser, sync_playwright

from local.deployment import ROOT

_LOCKED: Final = ROOT / "requirements" / "browser"
_FOLDER: Final = ROOT / ".local" / "browser"
_PACKAGE: Final = _FOLDER / "node_modules" / "@sparticuz" / "chromium" / "bin"
_CHROMIUM: Final = _FOLDER / "chromium"
_ARGUMENTS: Final = (
    "--no-sandbox",  # the sandbox needs rights that a container does not give
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
_FONTS: Final = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
<dir>{folder}/fonts</dir>
<dir>/usr/share/fonts</dir>
<cachedir>{folder}/fonts-cache</cachedir>
</fontconfig>
"""


def install() -> None:
    """Installs the browser and axe, unless the locked versions are installed.

    Raises:
        subprocess.CalledProcessError: npm failed.
    """
    _FOLDER.mkdir(parents=True, exist_ok=True)
    lock = (_LOCKED / "package-lock.json").read_bytes()
    installed = _FOLDER / "installed.json"
    with (_FOLDER / "lock").open("w") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        if installed.exists() and installed.read_bytes() == lock:
            return
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_LOCKED / name, _FOLDER)
        npm = str(Path(sys.executable).with_name("npm"))
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run(command, cwd=_FOLDER, check=True)  # noqa: S603
        _unpack()
        installed.write_bytes(lock)


def _unpack() -> None:
    _CHROMIUM.write_bytes(brotli.decompress((_PACKAGE / "chromium.br").read_bytes()))
    _CHROMIUM.chmod(0o755)
    for name in ("al2023", "fonts"):
        content = brotli.decompress((_PACKAGE / f"{name}.tar.br").read_bytes())
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(_FOLDER, filter="data")
    (_FOLDER / "fonts.conf").write_text(_FONTS.format(folder=_FOLDER))


@contextmanager
def launched() -> Iterator[Browser]:
    """Installs and starts the browser, and ends it."""
    given = os.environ.get("CHROMIUM")
    if not given:
        install()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=given or _CHROMIUM,
            args=_ARGUMENTS,
            env=None if given else _environment(),
        )
        yield browser
        browser.close()


def axe() -> str:
    """Returns the script of axe."""
    install()
    return (_FOLDER / "node_modules" / "axe-core" / "axe.min.js").read_text()


def _environment() -> dict[str, str | float | bool]:
    return {
        **os.environ,
        "LD_LIBRARY_PATH": str(_FOLDER / "lib"),
        "FONTCONFIG_FILE": str(_FOLDER / "fonts.conf"),
    }
