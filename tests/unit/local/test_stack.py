"""The stack keeps to the source that its lake was filled from."""

import json
from contextlib import AbstractContextManager
from dataclasses import fields
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from local.stack import LocalStack, NotUp, SourceRefused, Stack, StackInUse

SOURCE = "postgresql://reader:secret@db.example.com:5432/totesys"


class Begun(Exception):
    """The stack was not refused: it begins to start."""


def step(name: str) -> AbstractContextManager[None]:
    """Goes no further than the first thing that would be started."""
    raise Begun(name)


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every database can be connected to."""

    class Connection:
        def close(self) -> None:
            pass

    monkeypatch.setattr(psycopg, "connect", lambda *_arguments, **_keywords: Connection())


def remember(folder: Path, **known: Any) -> None:
    """Leaves what a deployed stack leaves behind."""
    stack = {field.name: f"its {field.name}" for field in fields(Stack)}
    (folder / "stack.json").write_text(json.dumps({**stack, "is_given": True, **known}))


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize(
    "other",
    [
        "postgresql://reader:secret@db.example.com:5432/another",
        "postgresql://reader:secret@db.example.com:5433/totesys",
        "postgresql://reader:secret@example.com:5432/totesys",
    ],
)
def test_another_source_is_refused_before_anything_starts(tmp_path, other):
    remember(tmp_path, source_dsn=SOURCE)
    with pytest.raises(SourceRefused, match="delete it with `make clean`"):
        LocalStack(tmp_path).up(step, source_dsn=other)


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize(
    "same",
    [
        SOURCE,
        "postgresql://other:password@db.example.com:5432/totesys",
        "host=db.example.com port=5432 dbname=totesys user=reader",
        None,
    ],
)
def test_the_same_source_is_taken_whoever_connects(tmp_path, same):
    remember(tmp_path, source_dsn=SOURCE)
    with pytest.raises(Begun):
        LocalStack(tmp_path).up(step, source_dsn=same)


@pytest.mark.usefixtures("reachable")
def test_any_source_is_taken_at_first(tmp_path):
    with pytest.raises(Begun):
        LocalStack(tmp_path).up(step, source_dsn=SOURCE)


@pytest.mark.parametrize("known", [False, True])
def test_a_source_that_cannot_be_reached_is_refused_with_the_reason(tmp_path, known):
    dead = "postgresql://reader:secret@127.0.0.1:1/totesys"
    if known:
        remember(tmp_path, source_dsn=dead)
    with pytest.raises(SourceRefused, match=r"SOURCE_DSN cannot be used: .*refused"):
        LocalStack(tmp_path).up(step, source_dsn=None if known else dead)


def test_a_stack_that_was_never_up_is_not_up(tmp_path):
    with pytest.raises(NotUp, match="start it with `make run`"):
        LocalStack(tmp_path).current()


def test_a_stack_that_is_down_is_not_up(tmp_path):
    remember(tmp_path)
    with pytest.raises(NotUp):
        LocalStack(tmp_path).current()


def test_cleaning_forgets_all_state_but_the_jars(tmp_path):
    remember(tmp_path)
    for name in ("cloud", "postgres", "sam", "spark-jars"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / "build.toml").touch()

    LocalStack(tmp_path).clean()

    assert [path.name for path in tmp_path.iterdir()] == ["spark-jars"]


def test_cleaning_what_is_not_there_is_no_error(tmp_path):
    LocalStack(tmp_path).clean()


def test_a_source_is_kept_with_what_the_shell_says_of_it(tmp_path, monkeypatch):
    connected = []

    def connect(dsn: str, **_keywords: object) -> None:
        connected.append(conninfo_to_dict(dsn))
        raise psycopg.OperationalError("not now")

    monkeypatch.setattr(psycopg, "connect", connect)
    for name, value in {"PGPASSWORD": "it's", "PGUSER": "me", "PGHOST": "else.where"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SourceRefused, match="not now"):
        LocalStack(tmp_path).up(step, source_dsn="postgresql://reader@db.example.com/totesys")
    (only,) = connected
    assert only | {"connect_timeout": ""} == {
        "host": "db.example.com",
        "user": "reader",
        "password": "it's",
        "dbname": "totesys",
        "connect_timeout": "",
    }


@pytest.mark.parametrize("other", ["up", "down", "clean"])
@pytest.mark.usefixtures("reachable")
def test_one_command_at_a_time_starts_stops_or_deletes_the_stack(tmp_path, other):
    def start(_name: str) -> AbstractContextManager[None]:
        with pytest.raises(StackInUse, match="wait for its end"):
            getattr(LocalStack(tmp_path), other)(*([step] if other == "up" else []))
        raise Begun

    with pytest.raises(Begun):
        LocalStack(tmp_path).up(start, source_dsn=SOURCE)
    LocalStack(tmp_path).down()
