"""What the local commands show: progress while an execution runs, and tables at its end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

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
from pipeline import warehouse_schema
from pipeline.reports import Reports
from star_schema.tables import star_tables

_SHOWN = ("Task", "Parallel")
_STAR_TABLES: LiteralString = """
select relname::text
from pg_class
where relkind in ('r', 'p')
    and relnamespace = (select oid from pg_namespace where nspname = current_schema())
    and relname = any (%s)
order by relname
"""
_LOADED_BEFORE: LiteralString = (
    "select coalesce(max(sequence), 0) from pipeline_run where sequence < %s"
)


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
        stars = _star_rows(stack, execution.output)
        self._console.print(_rows_table(stars, _loaded_tables(stack, execution.output)))
        self._console.print(_stages_table(execution, stars))
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


@dataclass(frozen=True)
class _StarRows:
    """One star table's rows: in the lake, in the warehouse, and those that came since a run."""

    table: str
    is_fact: bool
    in_lake: int
    in_warehouse: int
    built: int


def _star_rows(stack: Stack, output: dict[str, Any]) -> list[_StarRows]:
    catalog = glue_catalog(boto3.client("s3"))
    declared = {star.name: star for star in star_tables()}
    with psycopg.connect(stack.warehouse_dsn) as warehouse:
        warehouse_schema.enter(warehouse.cursor())
        before = _count(warehouse, _LOADED_BEFORE, [output.get("sequence", 0)])
        found: list[_StarRows] = []
        for (name,) in warehouse.execute(_STAR_TABLES, [[*declared]]).fetchall():
            is_fact = declared[name].is_fact
            count = sql.SQL("select count(*) from {}").format(sql.Identifier(name))
            try:
                table = catalog.load_table((stack.glue_database, name))
            except NoSuchTableError:
                found.append(_StarRows(name, is_fact, 0, _count(warehouse, count), 0))
                continue
            built = table.scan(row_filter=f"_sequence > {before}").count()
            rows = table.scan().count()
            found.append(_StarRows(name, is_fact, rows, _count(warehouse, count), built))
    return found


def _count(
    connection: psycopg.Connection,
    query: LiteralString | sql.Composed,
    arguments: list[Any] | None = None,
) -> int:
    row = connection.execute(query, arguments).fetchone()
    return int(row[0]) if row else 0


def _loaded_tables(stack: Stack, output: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns what the load did to each star table, from its report."""
    if not output.get("loaded"):
        return {}
    report = Reports(stack.raw_bucket, boto3.client("s3")).read(output["loaded"]["report"])
    return {entry["table"]: entry for entry in report["tables"]}


def _rows_table(stars: list[_StarRows], loaded: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="The star schema")
    table.add_column("table")
    for name in ("lake rows", "warehouse rows", "new", "changed", "waiting"):
        table.add_column(name, justify="right")
    for star in stars:
        this = loaded.get(star.table, {})
        counts = (this.get(kind, 0) for kind in ("inserted", "updated", "waiting"))
        table.add_row(
            star.table, *(f"{rows:,}" for rows in (star.in_lake, star.in_warehouse, *counts))
        )
    return table


def _stages_table(execution: Execution, stars: list[_StarRows]) -> Table:
    table = Table(title="The stages")
    table.add_column("stage")
    for name in ("seconds", "rows", "retries"):
        table.add_column(name, justify="right")
    rows = {
        "Ingest": (execution.output.get("ingested") or {}).get("rows", 0),
        "BuildStar": sum(star.built for star in stars),
        "BuildDimensions": sum(star.built for star in stars if not star.is_fact),
        "BuildFacts": sum(star.built for star in stars if star.is_fact),
        "Load": (execution.output.get("loaded") or {}).get("rows", 0),
    }
    for state in execution.states:
        if "lambda" in state.resource or "glue" in state.resource:
            count = f"{rows[state.name]:,}" if state.name in rows else ""
            table.add_row(state.name, f"{state.seconds:.1f}", count, str(state.retries))
    table.add_row("all of it", f"{execution.seconds:.1f}", "", "")
    return table
