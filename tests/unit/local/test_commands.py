"""The commands fail with a line that says what to do, and a code that says whose fault it is."""

import errno
import json
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from local import __main__ as command_line
from local.cloud.server import LocalCloud
from local.execution import Execution
from local.stack import LocalStack, Stack

Command = Callable[..., int]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs a command where nothing was ever up, and gives its exit code."""
    monkeypatch.setattr(command_line, "LocalStack", lambda: LocalStack(tmp_path))

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["local", *arguments])
        return command_line.main()

    return run


@pytest.fixture
def stack_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stack that seems to be up, with a source of somebody's own."""
    file = tmp_path / "stack.json"
    known = {field.name: f"its {field.name}" for field in fields(Stack)}
    known["source_dsn"] = "postgresql://reader:it's%20secret@its.source"
    known["warehouse_dsn"] = "postgresql://me:it's%20secret@its.warehouse"
    file.write_text(json.dumps({**known, "is_given": True}))
    monkeypatch.setattr(LocalCloud, "is_running", lambda _self: True)
    monkeypatch.setattr(LocalCloud, "enter", lambda _self: None)
    return file


@pytest.mark.parametrize("text", ["{verify: true}", "", "{"])
def test_an_input_that_is_no_json_is_refused_whatever_is_up(command, capsys, text):
    assert command("execute", "--input", text) == 2
    error = capsys.readouterr().err
    assert error.startswith("INPUT is not JSON (")
    assert error.endswith(f": {text}\n")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["execute"], ["activity"], ["status"], ["status", "--json"], ["psql"], ["logs"]]
)
def test_what_needs_the_stack_says_that_it_is_not_up(command, capsys, arguments):
    assert command(*arguments) == 1
    assert capsys.readouterr() == ("", "the local cloud is not running: start it with `make run`\n")


@pytest.mark.parametrize("name", ["down", "clean"])
def test_stopping_what_is_not_up_is_no_error(command, capsys, name):
    assert command(name) == 0
    assert capsys.readouterr() == ("", "")


def test_a_user_without_a_name_is_told_of_before_anything_starts(command, capsys, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 4_000_000_001)
    assert command("run") == 1
    assert capsys.readouterr().err.startswith("the user with the id 4000000001 has no name")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_takes_nothing_is_told_in_a_line(command, capsys, monkeypatch, number):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number), "a file")

    monkeypatch.setattr(LocalStack, "down", fail)

    assert command("down") == 1
    assert capsys.readouterr().err == (
        f"a file: {os.strerror(number)}: see to the disk, and try again\n"
    )


def test_other_errors_of_the_system_are_no_matter_of_the_disk(command, monkeypatch):
    def fail(*_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "no such file", "a file")

    monkeypatch.setattr(LocalStack, "down", fail)

    with pytest.raises(FileNotFoundError):
        command("down")


def test_a_source_that_cannot_be_reached_is_told_in_a_line(command, capsys):
    assert command("run", "--source-dsn", "postgresql://reader@127.0.0.1:1/totesys") == 1
    assert capsys.readouterr().err.startswith("SOURCE_DSN cannot be used: ")


@pytest.mark.parametrize("arguments", [[], ["start"], ["psql", "lake"], ["run", "--scale", "big"]])
def test_an_unknown_command_or_argument_is_a_usage_error(command, arguments):
    with pytest.raises(SystemExit) as stopped:
        command(*arguments)
    assert stopped.value.code == 2


@pytest.mark.usefixtures("stack_file")
def test_business_does_not_happen_in_somebody_s_own_source(command, capsys):
    assert command("activity") == 1
    assert "the source is not the generated one" in capsys.readouterr().err


def test_the_status_is_one_json_object_on_request(command, capsys, stack_file):
    assert command("status", "--json") == 0
    known = json.loads(stack_file.read_text())
    assert json.loads(capsys.readouterr().out) == {
        field.name: known[field.name] for field in fields(Stack)
    }


@pytest.mark.usefixtures("stack_file")
@pytest.mark.parametrize(
    ("arguments", "dsn"),
    [
        ([], "user=me host=its.warehouse"),
        (["warehouse"], "user=me host=its.warehouse"),
        (["source"], "user=reader host=its.source"),
    ],
)
def test_a_shell_opens_on_the_database_that_is_named(command, monkeypatch, arguments, dsn):
    opened = []
    monkeypatch.setattr("os.execv", lambda program, argv: opened.append((program.name, argv)))
    monkeypatch.setenv("PGPASSWORD", "of another")
    command("psql", *arguments)
    assert opened == [("psql", ["psql", dsn])]
    assert os.environ["PGPASSWORD"] == "it's secret", "which arguments are not"


@pytest.mark.usefixtures("stack_file")
@pytest.mark.parametrize("arguments", [["execute"], ["maintain"]])
def test_an_execution_that_did_nothing_fails_the_command(command, capsys, monkeypatch, arguments):
    skipped = {"status": "skipped", "message": "Another execution is under way."}
    execution = Execution("arn", "SUCCEEDED", skipped, "", "", (), 0.1)
    monkeypatch.setattr(command_line, "execute", lambda *_given, **_named: execution)

    assert command(*arguments) == 1

    assert capsys.readouterr().err == (
        "Another execution is under way. `make doctor ONLY=runs.lock` says who holds the lock.\n"
    )


@pytest.mark.usefixtures("stack_file")
def test_an_interrupted_command_says_what_goes_on(command, capsys, monkeypatch):
    def interrupted(*_given: object, **_named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "execute", interrupted)
    assert command("execute") == 130
    assert "interrupted: what was started goes on" in capsys.readouterr().err
