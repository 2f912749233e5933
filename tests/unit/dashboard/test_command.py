"""How `make dashboard` finds its warehouse."""

import pytest

from dashboard.__main__ import main


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
