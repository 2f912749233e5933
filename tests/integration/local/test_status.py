"""The status of a stack, with a warehouse that a first execution has not reached."""

import sys
from dataclasses import fields

import pytest

from local import __main__ as command_line
from local.stack import LocalStack, Stack


def test_the_status_before_the_first_load_has_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], warehouse_dsn: str
) -> None:
    names = {field.name: f"its {field.name}" for field in fields(Stack)}
    stack = Stack(**{**names, "warehouse_dsn": warehouse_dsn})
    monkeypatch.setattr(LocalStack, "current", lambda _self: stack)
    monkeypatch.setattr(sys, "argv", ["local", "status"])

    assert command_line.main() == 0

    assert capsys.readouterr().out.splitlines()[-1].split() == ["last", "load", "none"]
