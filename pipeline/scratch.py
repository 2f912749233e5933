"""Folders for temporary files. AWS Lambda keeps /tmp when it kills an invocation."""

import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_PREFIX = "totesys-scratch-"
_OWNED = re.compile(rf"{_PREFIX}(\d+)-")


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Returns a folder that is removed with the context that it is used in."""
    return tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-")


def remove_leftovers() -> None:
    """Removes the folders of killed invocations.

    To be called at the start of an invocation: this process has no folder in use then. The folders
    of other running processes stay; a new process may have the id of a killed one.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = _OWNED.match(folder.name)
        if owner and (int(owner[1]) == os.getpid() or not _is_running(int(owner[1]))):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(process, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True
