"""Fetches the page of a run, and opens it where there is a browser: `make report`."""

import argparse
import os
import re
import sys
import webbrowser
from pathlib import Path

from lineage.places import Places, places
from local.private import private_folder
from local.stack import STATE, NotUp
from pipeline.artifacts import PAGES, page_key
from pipeline.errors import ObjectMissing, PipelineError
from pipeline.object_store import ObjectStore

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


def fetch(stack: Places, run_id: str, folder: Path) -> Path:
    """Writes the page of a run to a file, and returns the file.

    Args:
        stack: Where the parts are.
        run_id: The execution; the newest with a page if it is empty.
        folder: Where the file goes.

    Raises:
        ObjectMissing: There is no such page.
    """
    bucket = stack.output("ArtifactsBucket")
    artifacts = ObjectStore(bucket, stack.session.client("s3"))
    key = page_key(run_id)
    if not run_id:
        pages = sorted(artifacts.keys(PAGES), key=lambda one: one.last_modified)
        if not pages:
            raise ObjectMissing(f"no run has left a page in s3://{bucket}/{PAGES}: start one")
        key = pages[-1].key
    content = artifacts.get(key)
    file = private_folder(folder) / re.sub(r"[^A-Za-z0-9_.-]", "_", key.removeprefix(PAGES))
    file.write_bytes(content)
    return file


def main() -> int:
    """Prints where the page is, and opens it if there is a display."""
    parser = argparse.ArgumentParser(prog="python -m lineage.report")
    parser.add_argument("--run", default="", help="the execution's name; the newest unless given")
    parser.add_argument("--env", default="", help="an environment of samconfig.toml")
    options = parser.parse_args()
    try:
        file = fetch(places(options.env), options.run, STATE / "reports")
    except (NotUp, PipelineError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{file}\n")
    if sys.platform == "darwin" or any(map(os.environ.get, _DISPLAYS)):
        webbrowser.open(file.as_uri())
    return 0


if __name__ == "__main__":
    sys.exit(main())
