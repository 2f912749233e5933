"""Files and folders that their user alone can read: they hold passwords, rows or logs."""

import tempfile
from pathlib import Path

_OF_THE_USER = 0o700


def private_folder(folder: Path) -> Path:
    """Makes a folder unless it exists, closes it to other users, and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(_OF_THE_USER)
    return folder


def write_private(file: Path, content: str) -> None:
    """Writes a file in one step, so that it is never open to others and never written in part."""
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        unfinished = Path(folder, file.name)
        unfinished.touch(mode=0o600)
        unfinished.write_text(content)
        unfinished.replace(file)
