"""The local cloud's commands: `python -m local run|execute|activity|status|down`."""

import argparse
import json
import sys
from dataclasses import asdict

import psycopg
from psycopg import sql
from rich.console import Console
from rich.table import Table

from local.source.activity import run_activity
from local.stack import LocalStack, Stack, StateSeen, execute

_CONSOLE = Console()


def main() -> int:
    """Runs one command, and returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m local")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--source-dsn")
    one = commands.add_parser("execute")
    one.add_argument("--input", default="{}")
    commands.add_parser("activity")
    status = commands.add_parser("status")
    status.add_argument("--json", action="store_true")
    commands.add_parser("down")
    options = parser.parse_args()
    local = LocalStack()
    if options.command == "run":
        _CONSOLE.print("starting the local cloud and deploying the stack")
        return _execute(local.up(options.source_dsn or None), "{}")
    if options.command == "execute":
        return _execute(local.current(), options.input)
    if options.command == "activity":
        for name, rows in run_activity(local.current().source_dsn).rows.items():
            _CONSOLE.print(f"{name.replace('_', ' '):24} {rows:5}")
    elif options.command == "status":
        stack = asdict(local.current())
        if options.json:
            sys.stdout.write(json.dumps(stack) + "\n")
        else:
            for name, value in stack.items():
                _CONSOLE.print(f"{name:18} {value}", highlight=False, soft_wrap=True)
    else:
        local.down()
    return 0


def _execute(stack: Stack, document: str) -> int:
    def report(state: StateSeen) -> None:
        _CONSOLE.print(f"{state.name:28} {state.seconds:6.1f} s")

    execution = execute(stack, document, report)
    if execution["status"] != "SUCCEEDED":
        _CONSOLE.print(f"{execution.get('error')}: {execution.get('cause')}", soft_wrap=True)
        return 1
    output = json.loads(execution["output"])
    _CONSOLE.print(output["message"], soft_wrap=True)
    _CONSOLE.print(_summary(stack))
    return 0


def _summary(stack: Stack) -> Table:
    table = Table("table", "warehouse rows")
    with psycopg.connect(stack.warehouse_dsn) as connection:
        names = connection.execute(
            "select relname::text from pg_class where relkind = 'r' "
            "and relnamespace = 'public'::regnamespace "
            "and (relname like 'dim\\_%' or relname like 'fact\\_%') "
            "and relname <> 'fact_quarantine' order by 1"
        ).fetchall()
        for (name,) in names:
            row = connection.execute(
                sql.SQL("select count(*) from {}").format(sql.Identifier(name))
            ).fetchone()
            table.add_row(name, f"{row[0] if row else 0:,}")
    return table


if __name__ == "__main__":
    sys.exit(main())
