"""The doctor makes every check, says what it could not look at, and tells no password."""

import json
import re
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from doctor import __main__ as command
from doctor.checks import machine
from doctor.finding import Check, Finding, Status, fault, ok
from doctor.place import Place, WriteRefused
from doctor.registry import CHECKS
from doctor.running import run_all, run_one
from local.deployment import ROOT
from local.stack import LocalStack
from pipeline.database import Role
from tests.unit.doctor import answers

_ROW = re.compile(r"^\| ([a-z]+\.[a-z_]+) \| ([^|]+) \|", re.MULTILINE)


@pytest.fixture
def clone(tmp_path: Path) -> Place:
    """A fresh clone, where nothing is running."""
    return Place("local", "totesys", LocalStack(tmp_path))


@pytest.fixture
def run(clone: Place, monkeypatch: pytest.MonkeyPatch):
    """Runs the command on the clone, and returns its code."""
    monkeypatch.setattr(Place, "of", lambda _name: clone)

    def run_command(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["doctor", *arguments])
        return command.main()

    return run_command


def finding(check: str, place: Place) -> Finding:
    (one,) = (one for one in CHECKS if one.name == check)
    return run_one(one, place)


def test_the_documentation_has_each_check_with_what_it_looks_at() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()

    rows = [(name, what) for name, what in _ROW.findall(text)]

    assert rows == [(check.name, check.what) for check in CHECKS]
    assert len({name for name, _ in rows}) == len(rows)


def test_in_a_fresh_clone_the_command_to_run_is_named_once(run, capsys) -> None:
    assert run() == 1

    shown = capsys.readouterr().out
    assert "FAULT    stack.credentials" in shown
    assert "→ make run" in shown
    assert shown.count("the local cloud is not running") == 1
    assert f"{len(CHECKS)} checks: " in shown


def test_json_has_each_check_with_its_result(run, capsys) -> None:
    assert run("--json", "--only", "stack,runs") == 1

    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == 1
    found = {one["check"]: one for one in document["findings"]}
    assert found.keys() == {
        check.name for check in CHECKS if check.name.startswith(("stack", "runs"))
    }
    assert found["stack.credentials"]["status"] == "fault"
    assert found["stack.credentials"]["fixes"] == ["make run"]
    assert found["runs.lock"]["status"] == "unknown"


def test_the_exit_code_is_two_if_a_check_could_not_be_made(run) -> None:
    assert run("--only", "runs.lock") == 2
    assert run("--only", "machine.folder") == 0


def test_wrong_use_is_told(monkeypatch, capsys, run) -> None:
    assert run("--only", "nothing") == 2
    assert "no check's name begins like that" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", ["doctor", "--env", "test"])
    assert command.main() == 2
    assert capsys.readouterr().err == "samconfig.toml has no environment 'test'\n"


def test_an_environment_is_that_of_samconfig() -> None:
    place = Place.of("prod")

    assert (place.stack_name, place.deploy) == ("totesys-prod", "make deploy ENV=prod")
    assert Place.of("local").deploy == "make run"


def test_a_check_that_fails_or_hangs_stops_no_other(clone: Place) -> None:
    released = threading.Event()

    def hanging(_place: Place) -> Finding:
        released.wait()
        return ok("at last")

    def failing(_place: Place) -> Finding:
        raise ZeroDivisionError("by zero")

    def refused(_place: Place) -> Finding:
        raise psycopg.OperationalError("the server went away")

    checks = [
        Check("a.hanging", "", hanging, seconds=0.05),
        Check("a.failing", "", failing),
        Check("a.refused", "", refused),
        Check("a.well", "", lambda _place: ok("well")),
    ]

    found = [finding for _, finding in run_all(checks, clone)]
    released.set()

    assert [one.status for one in found] == ["unknown", "unknown", "unknown", "ok"]
    assert [one.message for one in found] == [
        "there was no answer within 0 seconds",
        "the check failed: ZeroDivisionError: by zero",
        "the server went away",
        "well",
    ]


def test_a_password_is_never_told() -> None:
    def telling(place: Place) -> Finding:
        login = place.login(Role.SOURCE)
        return fault(f"{login.password} is known", f"psql password={login.password}")

    ((_, found),) = run_all([Check("a.b", "", telling)], answers.place({}))

    assert found.message == "*** is known"
    assert found.fixes == ("psql password=***",)


def test_the_session_refuses_what_may_write_but_takes_what_credentials_need() -> None:
    place = Place("dev", "totesys-dev", region="eu-west-2")
    events: Any = place.session.events
    events.register("before-call", lambda **_: (SimpleNamespace(status_code=200), {}))

    with pytest.raises(WriteRefused, match="PutObject may write"):
        place.client("s3").put_object(Bucket="raw", Key="key", Body=b"")
    place.client("sts").assume_role(RoleArn="arn:aws:iam::1:role/reader", RoleSessionName="me")


def test_what_the_local_commands_lack_is_named(
    clone: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "java_missing", lambda: "Java 17 or 21 is needed")
    monkeypatch.setattr(machine, "python_missing", lambda: "Python 3.11 or newer is needed")
    monkeypatch.setattr(machine, "unusable", lambda _: "the path of this folder contains ':'")
    monkeypatch.setattr(machine, "JARS", tmp_path / "jars")
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.0.1")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1))

    fixes = {
        name: finding(f"machine.{name}", clone).fixes[0]
        for name in ("java", "python", "folder", "jars", "packages", "disk")
    }

    assert {name: fix.partition(" ")[0] for name, fix in fixes.items()} == {
        "java": "export",
        "python": "make",
        "folder": "mv",
        "jars": "make",
        "packages": "make",
        "disk": "make",
    }


def test_a_port_that_another_program_has_is_named_with_the_file_that_keeps_it(
    clone: Place, tmp_path: Path
) -> None:
    assert finding("machine.ports", clone).status is Status.OK
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port_file = tmp_path / "cloud" / "port"
        port_file.parent.mkdir()
        port_file.write_text(str(taken.getsockname()[1]))

        found = finding("machine.ports", clone)

    assert found.status is Status.FAULT
    assert found.fixes[0].startswith(f"rm {port_file}")
    assert finding("machine.ports", clone).status is Status.OK
