"""What the local commands show: progress while an execution runs, and tables at its end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import psycopg
from psycopg import sql
from pyiceberg.exceptions import NoSuchTableError
from rich.console import Console
from rich.status import Status
from rich.table import Table

from lambdas.load.lake import glue_catalog
from local.execution import EndedState, EnteredState, Execution
from local.stack import Stack

_SHOWN = ("Task", "Parallel")
_STAR_TABLES = """
select relname::text
from pg_class
where relkind = 'r'
    and relnamespace = 'public'::regnamespace
    and (relname like 'dim\\_%' or relname like 'fact\\_%')
    and relname <> 'fact_quarantine'
order by relname
"""


class Report:
    """Prints to a console: with a live line on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def line(self, text: str) -> None:
        """Prints a line as it is."""
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Shows that something is under way, and prints how long it took."""
        began = time.monotonic()
        with self._console.status(name):
            yield
        self._took(name, time.monotonic() - began)

    @contextmanager
    def execution(self) -> Iterator["ExecutionReport"]:
        """Shows an execution's states while it runs."""
        with self._console.status("starting the execution") as status:
            yield ExecutionReport(self, status)

    def summary(self, stack: Stack, execution: Execution) -> None:
        """Prints what an execution did, and what the lake and the warehouse hold now."""
        self.line("")
        self._console.print(_rows_table(stack, execution.output))
        self._console.print(_stages_table(execution))
        self.line(str(execution.output.get("message", execution.output.get("status", ""))))

    def ended(self, state: EndedState) -> None:
        """Prints a state that has ended."""
        again = f"  {state.retries} retried" if state.retries else ""
        self._took(state.name, state.seconds, again)

    def _took(self, name: str, seconds: float, more: str = "") -> None:
        self.line(f"  {name:44} {seconds:6.1f} s{more}")


class ExecutionReport:
    """Shows one execution's states as they come and go."""

    def __init__(self, report: Report, status: Status) -> None:
        self._report = report
        self._status = status

    def progress(self, inside: list[EnteredState], ended: list[EndedState]) -> None:
        """Prints the states that have ended, and shows those that the execution is in."""
        for state in ended:
            if state.kind in _SHOWN:
                self._report.ended(state)
        now = time.time()
        under_way = [f"{state.name} {now - state.entered_at:.0f} s" for state in inside]
        self._status.update(", ".join(under_way) or "starting the execution")


def _rows_table(stack: Stack, output: dict[str, Any]) -> Table:
    table = Table(title="The star schema")
    table.add_column("table")
    for name in ("lake rows", "warehouse rows", "new", "changed", "waiting"):
        table.add_column(name, justify="right")
    catalog = glue_catalog(boto3.client("s3"))
    loaded = {entry["table"]: entry for entry in output.get("tables", [])}
    with psycopg.connect(stack.warehouse_dsn) as connection:
        names = [str(row[0]) for row in connection.execute(_STAR_TABLES.encode())]
        for name in names:
            rows = connection.execute(
                sql.SQL("select count(*) from {}").format(sql.Identifier(name))
            ).fetchone()
            try:
                held = catalog.load_table((stack.glue_database, name)).scan().count()
            except NoSuchTableError:
                held = 0
            this = loaded.get(name, {})
            table.add_row(
                name,
                f"{held:,}",
                f"{rows[0] if rows else 0:,}",
                *(f"{this.get(kind, 0):,}" for kind in ("inserted", "updated", "quarantined")),
            )
    return table


def _stages_table(execution: Execution) -> Table:
    table = Table(title="The stages")
    table.add_column("stage")
    for name in ("seconds", "rows", "retries"):
        table.add_column(name, justify="right")
    rows = {
        "Ingest": execution.output.get("ingested", {}).get("rows"),
        "Load": execution.output.get("loaded", {}).get("rows"),
    }
    for state in execution.states:
        if "lambda" in state.resource or "glue" in state.resource:
            count = rows.get(state.name)
            table.add_row(
                state.name,
                f"{state.seconds:.1f}",
                "" if count is None else f"{count:,}",
                str(state.retries),
            )
    table.add_row("all of it", f"{execution.seconds:.1f}", "", "")
    return table
