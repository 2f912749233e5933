"""Says in one line what prevents the commands from working, before anything is downloaded.

It runs on whatever Python 3 there is (`python3 local/prerequisites.py`), so it uses nothing that
an old one lacks.
"""

import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

OLDEST_PYTHON = (3, 11)
JAVA = (17, 21)
_NOT_IN_A_PATH = '"$`\\:'
"""What a shell, make or Java's class path takes for something else, quoted or not."""
_LONGEST_PATH = 1024
"""macOS's PATH_MAX. The folders below this one are 300 bytes deep."""
_BYTES_BELOW = 300


def unusable(folder: str) -> str:
    """Returns why the commands cannot work in a folder; an empty text if they can."""
    found = sorted(set(folder) & set(_NOT_IN_A_PATH)) + [c for c in folder if c < " "]
    if found:
        return (
            f"the path of this folder contains {' '.join(map(repr, found))}, which a shell or Java "
            f"cannot take: move the folder, now {folder!r}, to a path without"
        )
    length = len(os.fsencode(folder))
    if length > _LONGEST_PATH - _BYTES_BELOW:
        return (
            f"the path of this folder has {length} bytes, of which {_LONGEST_PATH - _BYTES_BELOW} "
            "are possible: move the folder to a shorter path"
        )
    return ""


def missing() -> str:
    """Returns what to install; an empty text if nothing is missing."""
    return python_missing() or java_missing()


def python_missing() -> str:
    """Returns which Python to install; an empty text if this one will do."""
    if sys.version_info < OLDEST_PYTHON:
        oldest, this = (".".join(map(str, v[:2])) for v in (OLDEST_PYTHON, sys.version_info))
        return (
            f"Python {oldest} or newer is needed, and this is {this}: "
            "install it, or name one by PYTHON="
        )
    return ""


def name_missing() -> str:
    """Returns what to do for a user without a name, as containers have them; else an empty text.

    PostgreSQL looks the name up, and Hadoop in Spark does so too: it fails with a stack trace.
    """
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return (
            f"the user with the id {os.geteuid()} has no name, which PostgreSQL and Spark need: "
            "add the user to /etc/passwd, or run the command as another one"
        )
    return ""


def java_missing() -> str:
    """Returns which Java to install; an empty text if there is one that will do."""
    home = os.environ.get("JAVA_HOME", "")
    java = str(Path(home) / "bin" / "java") if home else "java"
    needed = f"Java {JAVA[0]} or {JAVA[1]} is needed"
    try:
        answer = subprocess.run(  # noqa: S603  # nosec B603
            [java, "-version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
        ).stdout.decode(errors="replace")
    except (OSError, subprocess.CalledProcessError):
        where = "JAVA_HOME is " + home if home else "there is no java on the PATH"
        return f"{needed}, and {where}: install a JRE, or set JAVA_HOME"
    found = re.search(r'version "(\d+)', answer)
    if found is None or not JAVA[0] <= int(found.group(1)) <= JAVA[1]:
        version = found.group(1) if found else "of an unknown version"
        return f"{needed}, and {java} is {version}: install one, or set JAVA_HOME"
    return ""


if __name__ == "__main__":
    sys.exit(unusable(os.getcwd()) or missing() or 0)  # noqa: PTH109 - on any Python 3
