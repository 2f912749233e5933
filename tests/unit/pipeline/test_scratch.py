"""Temporary folders go with their invocation, or with the start of the next one."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.scratch import remove_leftovers, scratch_folder


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_goes_with_its_context(own_folder: Path) -> None:
    with scratch_folder() as folder:
        assert Path(folder).is_dir()

    assert list(own_folder.iterdir()) == []


@pytest.mark.parametrize("is_own", [True, False], ids=["of this process", "of a killed process"])
def test_a_folder_that_was_left_behind_goes_at_the_next_start(
    own_folder: Path, is_own: bool
) -> None:
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    left = own_folder / f"totesys-scratch-{os.getpid() if is_own else killed.pid}-x"
    left.mkdir()
    (left / "rows.parquet").write_bytes(b"rows")

    remove_leftovers()

    assert list(own_folder.iterdir()) == []


def test_folders_of_running_processes_and_of_others_stay(own_folder: Path) -> None:
    names = [f"totesys-scratch-{os.getppid()}-x", "totesys-scratch-x", "ingest-y"]
    for name in names:
        (own_folder / name).mkdir()

    remove_leftovers()

    assert sorted(entry.name for entry in own_folder.iterdir()) == sorted(names)
