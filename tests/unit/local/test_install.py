"""Requirements are installed once, whoever else installs them, and again where a folder moved."""

import os
import threading
from pathlib import Path

import pytest

from local import install

REQUIREMENTS = Path("dev.txt")
SECONDS_IN_VAIN = 0.2


@pytest.fixture(autouse=True)
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "clone"
    folder.mkdir()
    (folder / REQUIREMENTS).touch()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands that were run, in place of running them."""
    commands: list[tuple[str, ...]] = []

    def run(*command: str) -> int:
        commands.append(command)
        return 0

    monkeypatch.setattr(install, "_run", run)
    return commands


def made() -> int:
    return install.main(Path(".venv"), REQUIREMENTS)


def test_what_is_installed_is_not_installed_again_unless_the_requirements_changed(commands):
    assert (made(), made()) == (0, 0)
    assert [command[2] for command in commands] == ["venv", "pip"]

    os.utime(REQUIREMENTS, (2**31, 2**31))
    made()
    assert [command[2] for command in commands] == ["venv", "pip"] * 2


def test_an_environment_that_was_moved_gets_its_programs_again(commands, clone, monkeypatch):
    made()
    monkeypatch.chdir(clone.rename(clone.with_name("moved")))
    made()
    made()

    assert ["--force-reinstall" in command for command in commands] == [False, False, False, True]
    assert commands[2][-1] == str(Path(".venv").resolve())


def test_an_environment_of_an_earlier_version_or_behind_a_link_is_taken_as_it_is(
    commands, clone, monkeypatch
):
    made()
    Path(".venv/.installed").write_text("")
    made()
    other = clone.with_name("other")
    other.mkdir()
    (other / ".venv").symlink_to(clone / ".venv")
    (other / REQUIREMENTS).symlink_to(clone / REQUIREMENTS)
    monkeypatch.chdir(other)
    made()

    assert len(commands) == 2


def test_what_failed_is_installed_by_the_next_command(monkeypatch):
    codes = iter([1, 0, 2, 0, 0])
    monkeypatch.setattr(install, "_run", lambda *_command: next(codes))
    assert [made() for _ in range(3)] == [1, 2, 0]
    assert made() == 0


def test_two_commands_at_once_install_once(monkeypatch):
    begun: list[str] = []
    second = threading.Thread(target=made)

    def run(*command: str) -> int:
        begun.append(command[2])
        if len(begun) == 1:
            second.start()
            second.join(SECONDS_IN_VAIN)
        return 0

    monkeypatch.setattr(install, "_run", run)
    made()
    second.join()

    assert begun == ["venv", "pip"]
