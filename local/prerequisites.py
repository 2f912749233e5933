"""Says in one line what is missing, before anything is downloaded: `python3 local/prerequisites.py`.

It runs on whatever Python there is, so it uses nothing that an old one lacks.
"""

import os
import re
import subprocess
import sys

OLDEST_PYTHON = (3, 11)
JAVA = (17, 21)


def missing():
    # type: () -> str
    """Returns what to install; an empty text if nothing is missing."""
    if sys.version_info < OLDEST_PYTHON:
        return "Python {}.{} or newer is needed, and this is {}.{}: install it, or name one by PYTHON=".format(
            *(OLDEST_PYTHON + tuple(sys.version_info[:2]))
        )
    home = os.environ.get("JAVA_HOME", "")
    java = os.path.join(home, "bin", "java") if home else "java"
    try:
        answer = subprocess.run(  # noqa: S603  # nosec B603
            [java, "-version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
        ).stdout.decode(errors="replace")
    except (OSError, subprocess.CalledProcessError):
        where = "JAVA_HOME is " + home if home else "there is no java on the PATH"
        return f"Java {JAVA[0]} or {JAVA[1]} is needed, and {where}: install a JRE, or set JAVA_HOME"
    found = re.search(r'version "(\d+)', answer)
    if found is None or not JAVA[0] <= int(found.group(1)) <= JAVA[1]:
        version = found.group(1) if found else "of an unknown version"
        return f"Java {JAVA[0]} or {JAVA[1]} is needed, and {java} is {version}: install one, or set JAVA_HOME"
    return ""


if __name__ == "__main__":
    sys.exit(missing() or 0)
