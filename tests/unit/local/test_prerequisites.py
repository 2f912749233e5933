"""What is missing is said in one line, before anything is downloaded."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from local import prerequisites
from local.deployment import ROOT
from local.prerequisites import missing, unusable


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes the only java there is: one that answers what is given."""

    def make(answer: str) -> Path:
        program = tmp_path / "bin" / "java"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{answer}\n")
        program.chmod(0o700)
        monkeypatch.delenv("JAVA_HOME", raising=False)
        monkeypatch.setenv("PATH", str(program.parent))
        return program

    return make


@pytest.mark.parametrize("version", ["17.0.15", "21.0.7", "17"])
def test_nothing_is_missing_with_a_java_that_spark_runs_on(java, version):
    java(f"echo 'openjdk version \"{version}\" 2025-04-15' >&2")
    assert missing() == ""


@pytest.mark.parametrize(("version", "major"), [("11.0.2", "11"), ("1.8.0_402", "1"), ("22", "22")])
def test_another_java_is_named_with_its_version(java, version, major):
    java(f"echo 'openjdk version \"{version}\"' >&2")
    assert missing() == (
        f"Java 17 or 21 is needed, and java is {major}: install one, or set JAVA_HOME"
    )


def test_a_java_that_does_not_tell_its_version_is_refused(java):
    java("echo hello")
    assert "of an unknown version" in missing()


def test_java_home_is_preferred_to_the_path(java, monkeypatch):
    program = java("echo 'openjdk version \"17.0.1\"'")
    monkeypatch.setenv("JAVA_HOME", str(program.parents[1]))
    monkeypatch.setenv("PATH", "")
    assert missing() == ""


def test_no_java_on_the_path_is_said(monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing() == (
        "Java 17 or 21 is needed, and there is no java on the PATH: install a JRE, or set JAVA_HOME"
    )


def test_a_java_home_without_java_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert f"JAVA_HOME is {tmp_path}" in missing()


def test_a_java_that_fails_is_as_good_as_none(java):
    java("exit 1")
    assert "there is no java" in missing()


def test_an_old_python_is_refused_before_anything_else(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 14, "final", 0))
    monkeypatch.setenv("PATH", "")
    assert missing() == (
        "Python 3.11 or newer is needed, and this is 3.10: install it, or name one by PYTHON="
    )


def test_the_script_says_what_is_missing_and_fails(tmp_path):
    done = subprocess.run(
        [sys.executable, prerequisites.__file__],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Java 17 or 21 is needed")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "folder", ["/home/ada/tote", "/home/ada/tote's café 東京 (2)", "/" + "deep/" * 100, "/a#b%20c"]
)
def test_a_path_may_hold_spaces_single_quotes_and_letters_beyond_ascii(folder):
    assert unusable(folder) == ""


@pytest.mark.parametrize("character", ['"', "$", "`", "\\", ":", "\n"])
def test_a_path_that_a_shell_or_java_cannot_take_is_refused_with_the_character(character):
    assert repr(character) in unusable(f"/home/a{character}b")


def test_a_path_that_is_too_long_is_refused_with_its_length():
    assert "has 2001 bytes" in unusable("/" + "x" * 2000)
    assert "has 1201 bytes" in unusable("/" + "é" * 600)


def test_make_refuses_an_unusable_folder_before_it_does_anything(tmp_path):
    folder = tmp_path / "a$b"
    (folder / "local").mkdir(parents=True)
    for name in ("Makefile", "make", "requirements", "local/prerequisites.py"):
        (folder / name).symlink_to(ROOT / name)

    python = tmp_path / "ada's python 3"
    python.symlink_to(sys.executable)
    done = subprocess.run(
        ["make", "run", f"PYTHON={python}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode
    assert "'$'" in done.stderr
    assert not (folder / ".venv").exists()
