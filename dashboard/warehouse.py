"""Connections to the warehouse, which only read, and what is read there."""

import datetime
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row, scalar_row
from psycopg.types.json import set_json_loads

from dashboard.queries import Page, query
from pipeline import warehouse_schema, warehouse_session
from pipeline.database import Role, open_connection, translated_errors
from pipeline.secret import Login

_SETTINGS = {
    "statement_timeout": "30s",
    # A fact is aggregated in memory, without sorting it first.
    "work_mem": "64MB",
    # A query of a page takes less time than its compilation.
    "jit": "off",
}

Connect = Callable[[], psycopg.Connection]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Freshness:
    """How new the facts are.

    Attributes:
        through: The run through which every star table is loaded; None if nothing is.
        tables_behind: The star tables that are not loaded through the newest run.
        complete_as_of: The instant of the newest snapshot through which the warehouse is complete;
            None until Publish has written it for what is loaded.
        snapshot_at: The instant of the newest snapshot that every star table is loaded through,
            whether or not the run took every table; None if it is not known.
        known_from: The instant of the oldest run that history can show.
        waiting: The rows that wait, counted once for each reason.
    """

    through: int | None
    tables_behind: int
    complete_as_of: datetime.datetime | None
    snapshot_at: datetime.datetime | None
    known_from: datetime.datetime | None
    waiting: int

    @property
    def day(self) -> datetime.date:
        """The day of the facts, in UTC: today if no instant is known."""
        instant = self.complete_as_of or self.snapshot_at or datetime.datetime.now(datetime.UTC)
        return instant.astimezone(datetime.UTC).date()


@dataclass(frozen=True)
class Option:
    """A value of a filter: its text in the address, and its label."""

    filter: str
    id: str
    label: str


class Reading:
    """One transaction: all that is read shows one instant of the warehouse."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def freshness(self) -> Freshness:
        """Returns how new the facts are."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(sql.SQL(query("freshness"))).fetchone()
        return Freshness(**(row or {}))

    def options(self) -> tuple[Option, ...]:
        """Returns the values of every filter, by their labels."""
        return tuple(Option(*row) for row in self._connection.execute(sql.SQL(query("options"))))

    def charts(self, page: Page, parameters: Mapping[str, Any]) -> dict[str, list[Row]]:
        """Returns the rows of each chart of a page, by the chart's name. Numbers are exact."""
        with self._connection.cursor(row_factory=scalar_row) as cursor:
            found = cursor.execute(sql.SQL(page.query()), parameters).fetchone()
        return {name: rows or [] for name, rows in (found or {}).items()}

    def as_text(self, statement: str, parameters: Mapping[str, Any]) -> str:
        """Returns a statement with its parameters in it, as a reader can run it."""
        return psycopg.ClientCursor(self._connection).mogrify(sql.SQL(statement), parameters)


@contextmanager
def reading(connect: Connect) -> Iterator[Reading]:
    """Opens a connection for one page."""
    with closing(connect()) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        warehouse_session.set_local(connection.cursor(), _SETTINGS)
        warehouse_schema.enter(connection.cursor(), is_local=True)
        set_json_loads(partial(json.loads, parse_float=Decimal), connection)
        yield Reading(connection)


def connecting(login: Login) -> Connect:
    """Returns what opens connections. Its errors are those of pipeline.database."""
    keywords = {
        "application_name": "totesys-dashboard",
        "client_encoding": "utf8",
        "connect_timeout": "5",
        **login.keywords,
    }

    def connect() -> psycopg.Connection:
        with translated_errors(Role.WAREHOUSE):
            return open_connection(Login(keywords, login.password))

    return connect
