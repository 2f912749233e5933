"""A clone in a folder whose path holds spaces, quotes and letters beyond ASCII."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from local.deployment import ROOT


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the repository's files, with the environments of this one."""
    folder = tmp_path / "tote's café 東京 (2)"
    folder.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for name in (".venv", ".venv-sam"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def test_sam_build_makes_each_function_s_package(clone: Path) -> None:
    packages = clone / ".local" / "sam's build"

    done = subprocess.run(
        [clone / ".venv-sam" / "bin" / "sam", "build", "--build-dir", packages],
        cwd=clone,
        env=os.environ | {"SAM_CLI_TELEMETRY": "0", "LAMBDA_DEPENDENCIES": "provided"},
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    for function, folder in (
        ("IngestFunction", "lambdas/ingest"),
        ("LoadFunction", "lambdas/load"),
        ("PublishFunction", "lambdas/publish"),
        ("GlueCodeFunction", "glue_jobs"),
    ):
        built = {path.name for path in (packages / function / folder).iterdir()}
        assert built == {path.name for path in (ROOT / folder).iterdir()} - {"__pycache__"}


def test_the_commands_know_their_folder(clone: Path) -> None:
    done = subprocess.run(
        [clone / ".venv" / "bin" / "python", "-m", "local", "status"],
        cwd=clone,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.stderr == "the local cloud is not running: start it with `make run`\n"
