"""The stack keeps to the source that its lake was filled from."""

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from local import stack
from local.cloud.server import LocalCloud
from local.deployment import DeploymentFailed
from local.postgres import PostgresServer
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
    deployed = {one.name: f"its {one.name}" for one in fields(Stack)}
    (folder / "stack.json").write_text(json.dumps({**deployed, "is_given": True, **known}))


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


@dataclass
class Deployments:
    """What is done to the stack of a known cloud, in place of doing it.

    Attributes:
        digest: The digest of the code.
        done: What was done.
        failing: What the next deployment raises.
    """

    digest: str = "before"
    done: list[str] = field(default_factory=list)
    failing: type[BaseException] | None = None

    def deploy(self, *_given: object) -> None:
        self.done.append(f"deploy {self.digest}")
        failing, self.failing = self.failing, None
        if failing:
            raise failing


@pytest.fixture
def deployments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reachable: None) -> Deployments:
    """A stack that was deployed `before`, in a cloud that was stopped and is started again."""
    deployments = Deployments()
    outputs = {
        **{"StateMachineArn": "", "MaintenanceStateMachineArn": "", "NotificationTopicArn": ""},
        **{"RawBucket": "", "LakeBucket": "", "GlueDatabase": "", "RawGlueDatabase": ""},
        "PipelineTable": "table",
    }
    replaced = {
        "outputs": lambda: outputs,
        "put_secret": lambda name, _dsn: name,
        "code_digest": lambda _parameters: deployments.digest,
        "deploy": deployments.deploy,
        "free_lock": lambda table: deployments.done.append(f"free the lock in {table}"),
    }
    for name, function in replaced.items():
        monkeypatch.setattr(stack, name, function)
    running = iter([False])
    monkeypatch.setattr(LocalCloud, "is_running", lambda _self: next(running, True))
    monkeypatch.setattr(LocalCloud, "start", lambda _self: None)
    monkeypatch.setattr(LocalCloud, "enter", lambda _self: None)
    monkeypatch.setattr(LocalCloud, "endpoint_url", "")
    monkeypatch.setattr(PostgresServer, "start", lambda _self: None)
    monkeypatch.setattr(PostgresServer, "create_database", lambda _self, name: name)
    remember(tmp_path, source_dsn=SOURCE, pipeline_table="table", code_digest="before")
    return deployments


def test_what_was_deployed_before_an_interrupted_deployment_is_deployed_again(
    tmp_path, deployments
):
    def up() -> None:
        LocalStack(tmp_path).up(lambda _name: nullcontext())

    up()
    assert deployments.done == ["free the lock in table"]
    deployments.digest, deployments.failing = "after", KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        up()
    deployments.digest = "before"
    up()
    up()
    assert deployments.done[1:] == ["deploy after", "deploy before"]


def test_a_lock_that_a_stopped_cloud_left_is_freed_though_the_deployment_fails(
    tmp_path, deployments
):
    deployments.digest, deployments.failing = "after", DeploymentFailed
    with pytest.raises(DeploymentFailed):
        LocalStack(tmp_path).up(lambda _name: nullcontext())
    assert deployments.done == ["free the lock in table", "deploy after"]


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
