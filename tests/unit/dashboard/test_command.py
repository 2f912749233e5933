"""How `make dashboard` finds its warehouse."""

import json
from typing import Any

import boto3
import pytest

from dashboard import __main__ as command
from dashboard.__main__ import main
from dashboard.app import Dashboard
from lineage.places import Places
from tests.fixtures.asgi import asked


def test_a_password_on_the_command_line_is_refused_and_not_repeated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--dsn", "postgresql://reader:s3cret@warehouse.example/totesys"]) == 1

    said = capsys.readouterr().err
    assert "~/.pgpass" in said
    assert "s3cret" not in said


def test_a_malformed_connection_string_is_refused_and_not_repeated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--dsn", "password=s3cret host"]) == 1

    said = capsys.readouterr().err
    assert "DSN" in said
    assert "s3cret" not in said


def test_the_server_answers_on_this_machine_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: dict[str, object] = {}
    monkeypatch.setattr("uvicorn.run", lambda _app, **options: served.update(options))

    assert main(["--dsn", "host=warehouse.example dbname=totesys", "--port", "8123"]) == 0

    assert (served["host"], served["port"]) == ("127.0.0.1", 8123)
    assert "http://127.0.0.1:8123" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "followed"),
    [
        (["--dsn", "host=warehouse.example"], None),
        (["--dsn", "host=warehouse.example", "--env", "prod"], "prod"),
    ],
)
def test_a_row_is_followed_only_through_a_stack_that_is_named(
    arguments: list[str], followed: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "places", lambda environment: environment)
    monkeypatch.setattr(command, "trace", lambda table, key, parts: (table, key, parts))
    known: list[Any] = []
    monkeypatch.setattr(command, "Dashboard", lambda _connect, _name, stack: known.append(stack))
    monkeypatch.setattr(command, "serve", lambda _dashboard, _port: None)

    assert main(arguments) == 0

    (stack,) = known
    assert (stack and stack.environment) == followed
    assert (stack and stack.follow("fact_payment", "7")) == (
        followed and ("fact_payment", "7", followed)
    )


def test_an_environment_that_samconfig_does_not_have_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--env", "nowhere"]) == 1

    assert "no environment nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--env", "prod"]])
def test_the_warehouse_of_a_stack_is_found_by_its_secret(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, moto_bucket: str
) -> None:
    secret = {"host": "warehouse.example", "username": "u", "password": "p", "dbname": "totesys"}
    arn = boto3.client("secretsmanager").create_secret(
        Name="warehouse", SecretString=json.dumps(secret)
    )["ARN"]
    stack = Places(boto3.Session(), {}, {"WarehouseSecretArn": arn})
    stacks = {arguments[-1] if arguments else "": stack}
    monkeypatch.setattr(command, "places", stacks.__getitem__)
    served: list[Dashboard] = []
    monkeypatch.setattr(command, "serve", lambda dashboard, _port: served.append(dashboard))

    assert main(arguments) == 0

    _, shown = asked(served[0].application(), "/no-such-page")
    assert "totesys on warehouse.example" in shown
