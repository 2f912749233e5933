"""The local commands, on the stack that is up."""

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from lineage.places import places
from lineage.trace import trace
from local import __main__ as commands
from local.stack import LocalStack, Stack
from star_schema.tables import star_tables
from tests.end_to_end.conftest import Run, execute_and_observe
from tests.oracle.history import HistoryOracle

Command = Callable[..., int]


@pytest.fixture(scope="module")
def loaded_stack(stack: Stack, history: HistoryOracle) -> Stack:
    """The tests' stack, whose warehouse shows all of its source."""
    execution = execute_and_observe(stack, history, {})
    assert execution.status == "SUCCEEDED", f"{execution.error}: {execution.cause}"
    return stack


@pytest.fixture
def command(loaded_stack: Stack, state_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a local command on the tests' stack, and gives its code."""
    monkeypatch.setattr(commands, "LocalStack", lambda: LocalStack(state_folder))

    def run_command(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["local", *arguments])
        return commands.main()

    return run_command


def test_run_on_a_stack_that_is_up_shows_every_star_table_and_what_to_try_next(
    stack: Stack, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("run") == 0

    shown = capsys.readouterr().out
    with psycopg.connect(stack.warehouse_dsn) as warehouse:
        rows = warehouse.execute("select count(*) from fact_payment").fetchone()
    assert rows is not None
    (line,) = (line for line in shown.splitlines() if line.startswith("│ fact_payment "))
    assert line.count(f" {rows[0]:,} ") == 2, "rows in the lake and in the warehouse"
    assert "deploying" not in shown
    assert "Nothing new since run" in shown
    assert "What to try next" in shown


def test_a_password_is_in_no_file_that_other_users_can_read(
    loaded_stack: Stack, state_folder: Path
) -> None:
    databases = (loaded_stack.source_dsn, loaded_stack.warehouse_dsn)
    passwords = [str(conninfo_to_dict(dsn)["password"]).encode() for dsn in databases]
    files = []
    for name, folders, names in os.walk(state_folder):
        folder = Path(name)
        folders[:] = [one for one in folders if is_open(folder / one)]
        files += [folder / one for one in names if is_open(folder / one)]

    assert [
        file for file in files if any(password in file.read_bytes() for password in passwords)
    ] == []
    assert not is_open(state_folder / "cloud"), "it keeps the secrets when it is stopped"


def is_open(path: Path) -> bool:
    """Whether users other than its owner have rights to a file or a folder."""
    return bool(path.lstat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def test_execute_shows_every_stage_with_its_seconds_and_retries(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("execute", "--input", '{"verify": true}') == 0

    shown = capsys.readouterr().out
    assert "the warehouse equals the source" in shown
    assert all(stage in shown for stage in ("AcquireLock", "Ingest", "Load"))


def test_execute_of_a_failing_execution_says_why_and_fails(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("execute", "--input", '{"verfiy": true}') == 1

    assert "FAILED: InvalidInput: " in capsys.readouterr().err


def test_a_trace_of_a_row_of_the_running_stack_reaches_every_part(
    stack: Stack, command: Command, monkeypatch: pytest.MonkeyPatch, state_folder: Path
) -> None:
    monkeypatch.setattr("lineage.places.LocalStack", lambda: LocalStack(state_folder))

    found = trace("fact_payment", "1", places(""))

    assert found.not_reached == {}
    assert found.equals_source
    versions = [step for step in found.steps if step.is_version]
    assert [one for one in versions if not (one.raw or one.is_deleted)] == []
    assert [one for one in versions if not (one.snapshot and one.load)] == []
    assert versions


def test_activity_and_maintain_say_what_they_did_and_the_next_run_goes_on_from_there(
    command: Command,
    run: Run,
    maintenance_arguments: Callable[[dict[str, str]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    maintenance_arguments({"--snapshot_days": "0", "--snapshots_kept": "1"})
    assert command("activity") == 0
    assert "payments turned paid" in capsys.readouterr().out

    assert command("maintain") == 0
    shown = capsys.readouterr().out
    tables = [line.split()[0] for line in shown.splitlines() if " snapshots expired, " in line]
    assert sorted(tables) == sorted([*(star.name for star in star_tables()), "quarantine"])
    assert "The tables were maintained" in shown
    output = run(verify=True).output
    assert output["status"] == "loaded"
    assert "the warehouse equals the source" in output["message"]


def test_status_is_one_json_object_for_tools_and_lines_for_people(
    stack: Stack, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("status", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["warehouse_dsn"] == stack.warehouse_dsn
    assert document.keys() >= {
        "endpoint_url",
        "state_machine_arn",
        "source_dsn",
        "raw_bucket",
        "lake_bucket",
        "glue_database",
    }

    assert command("status") == 0
    assert "last load" in capsys.readouterr().out


def test_logs_are_those_of_the_functions_and_the_jobs(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("logs") == 0

    shown = capsys.readouterr().out
    assert "/aws/lambda/totesys-ingest" in shown
    assert "/aws-glue/totesys/output" in shown
    assert '"message":"loaded"' in shown
