"""The local commands: `python -m local run|execute|…`. `make help` lists them."""

import argparse
import errno
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from rich.console import Console

from local.arguments import above_zero
from local.cloud.server import CloudNotStarted
from local.deployment import DeploymentFailed
from local.execution import Execution, execute
from local.logs import log_lines, table_lines
from local.postgres import BINARIES, PostgresError
from local.prerequisites import name_missing
from local.report import Report
from local.source.activity import run_activity
from local.spark_jars import SparkJarsMissing
from local.stack import STATE, GeneratedSource, LocalStack, NotUp, SourceRefused, Stack, StackInUse
from pipeline import warehouse_schema

_NEXT = """
What to try next:
  make activity      change the source, then `make execute`
  make execute INPUT='{"verify": true}'     compare warehouse and source, row for row
  make report        open the page of the run: what waits, took and cost
  make trace TABLE=fact_payment KEY=1       tell a row's whole life
  make psql          query the warehouse: select * from current_sales_order limit 5;
  make down          stop everything; `make run` continues from the same state"""


_INTERRUPTED = 130
_TOLD_IN_A_LINE = (
    *(NotUp, StackInUse, SourceRefused, DeploymentFailed),
    *(PostgresError, SparkJarsMissing, CloudNotStarted),
)

_OF_A_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""What a full or broken disk answers, or one that may only be read."""


def main() -> int:
    """Runs one command and returns the exit code."""
    options = _parser().parse_args()
    commands: dict[str, Callable[[argparse.Namespace, LocalStack, Report], int]] = {
        "run": _run,
        "execute": _execute,
        "activity": _activity,
        "maintain": _maintain,
        "status": _status,
        "psql": _psql,
        "logs": _logs,
        "down": _down,
        "clean": _clean,
    }
    try:
        return commands[options.command](options, LocalStack(), Report(Console()))
    except _TOLD_IN_A_LINE as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        if error.errno not in _OF_A_DISK:
            raise
        sys.stderr.write(
            f"{error.filename or STATE}: {error.strerror}: see to the disk, and try again\n"
        )
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted: what was started goes on, until `make down` stops it\n")
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="start everything, deploy, execute once")
    run.add_argument("--source-dsn", default="", help="a PostgreSQL database as the source")
    run.add_argument("--scale", type=above_zero, default=1.0, help="size of the generated source")
    run.add_argument("--seed", type=int, default=1, help="seed of the generated source")
    one = commands.add_parser("execute", help="execute the state machine once")
    one.add_argument("--input", default="{}", help="the execution's input, JSON")
    commands.add_parser("activity", help="change the source: new orders, edits, deletions")
    commands.add_parser("maintain", help="compact the lake's tables, expire old snapshots")
    status = commands.add_parser("status", help="show the running stack")
    status.add_argument("--json", action="store_true", help="as one JSON object")
    shell = commands.add_parser("psql", help="open a SQL shell")
    shell.add_argument("database", choices=["warehouse", "source"], default="warehouse", nargs="?")
    commands.add_parser("logs", help="print the newest log lines of every part")
    commands.add_parser("down", help="stop everything, keep the state")
    commands.add_parser("clean", help="stop everything and delete the state")
    return parser


def _run(options: argparse.Namespace, local: LocalStack, report: Report) -> int:
    if reason := name_missing():
        sys.stderr.write(f"{reason}\n")
        return 1
    stack = local.up(
        report.step,
        source_dsn=options.source_dsn or None,
        generated=GeneratedSource(options.scale, options.seed),
    )
    code = _execute_once(stack, "{}", report)
    if code == 0:
        report.line(_NEXT)
    return code


def _execute(options: argparse.Namespace, local: LocalStack, report: Report) -> int:
    try:
        json.loads(options.input)
    except ValueError as error:
        sys.stderr.write(f"INPUT is not JSON ({error}): {options.input}\n")
        return 2
    return _execute_once(local.current(), options.input, report)


def _execute_once(stack: Stack, document: str, report: Report) -> int:
    execution = _executed(stack.state_machine_arn, document, report)
    if execution is None:
        return 1
    report.summary(stack, execution)
    return 0


def _maintain(_options: argparse.Namespace, local: LocalStack, report: Report) -> int:
    execution = _executed(local.current().maintenance_state_machine_arn, "{}", report)
    if execution is None:
        return 1
    for line in table_lines(execution.output["job_run"]):
        report.line(line)
    report.line(execution.output["message"])
    return 0


def _executed(state_machine_arn: str, document: str, report: Report) -> Execution | None:
    """Executes a state machine; prints the cause if it does not succeed, or found the lock held."""
    with report.execution() as live:
        execution = execute(state_machine_arn, document, on_progress=live.progress)
    if execution.status != "SUCCEEDED":
        sys.stderr.write(f"{execution.status}: {execution.error}: {execution.cause}\n")
        return None
    if execution.output["status"] == "skipped":
        sys.stderr.write(
            f"{execution.output['message']} `make doctor ONLY=runs.lock` says who holds the lock.\n"
        )
        return None
    return execution


def _activity(_options: argparse.Namespace, local: LocalStack, report: Report) -> int:
    stack = local.current()
    if not local.has_generated_source:
        raise SourceRefused(
            "the source is not the generated one, and `make activity` writes to no other"
        )
    for name, rows in run_activity(stack.source_dsn).rows.items():
        report.line(f"  {name.replace('_', ' '):24} {rows:5}")
    report.line("`make execute` brings these changes to the warehouse")
    return 0


def _status(options: argparse.Namespace, local: LocalStack, report: Report) -> int:
    stack = asdict(local.current())
    if options.json:
        sys.stdout.write(json.dumps(stack) + "\n")
        return 0
    for name, value in stack.items():
        report.line(f"{name.replace('_', ' '):24} {value}")
    with psycopg.connect(stack["warehouse_dsn"]) as connection:
        warehouse_schema.enter(connection.cursor())
        last = _last_load(connection)
    report.line(
        "{:24} {}".format("last load", f"run {last[0]} at {last[2]}, {last[1]}" if last else "none")
    )
    return 0


def _last_load(connection: psycopg.Connection) -> tuple[int, str, str] | None:
    """Returns the last load's run, name and time; None before the first one."""
    if connection.execute("select to_regclass('pipeline_run')").fetchone() == (None,):
        return None
    return connection.execute(
        "select sequence, run_id, loaded_at::timestamptz(0)::text from pipeline_run "
        "order by sequence desc limit 1"
    ).fetchone()


def _psql(options: argparse.Namespace, local: LocalStack, _report: Report) -> int:
    stack = local.current()
    dsn = stack.source_dsn if options.database == "source" else stack.warehouse_dsn
    keywords: dict[str, Any] = {**conninfo_to_dict(dsn)}
    # Other users see the arguments of a process, and not its environment.
    if password := keywords.pop("password", None):
        os.environ["PGPASSWORD"] = password
    os.execv(BINARIES / "psql", ["psql", make_conninfo(**keywords)])  # noqa: S606  # nosec B606


def _logs(_options: argparse.Namespace, local: LocalStack, report: Report) -> int:
    local.current()
    for line in log_lines():
        report.line(line)
    return 0


def _down(_options: argparse.Namespace, local: LocalStack, _report: Report) -> int:
    local.down()
    return 0


def _clean(_options: argparse.Namespace, local: LocalStack, _report: Report) -> int:
    local.clean()
    return 0


if __name__ == "__main__":
    sys.exit(main())
