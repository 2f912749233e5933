"""A warehouse, and loads into it."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from lambdas.load.lake import Lake
from lambdas.load.load import LoadRequest, LoadResult, load
from lambdas.load.migrations import migrate, migrations
from tests.fixtures.lake import StarLake

Connect = Callable[[], psycopg.Connection]
LoadThrough = Callable[..., LoadResult]


@pytest.fixture
def connect(warehouse_dsn: str) -> Iterator[Connect]:
    """Opens connections to the warehouse, in autocommit mode."""
    opened: list[psycopg.Connection] = []

    def connect() -> psycopg.Connection:
        opened.append(psycopg.connect(warehouse_dsn, autocommit=True, options="-c timezone=UTC"))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def empty_warehouse(connect: Connect) -> psycopg.Connection:
    """A connection to a database with nothing in it."""
    return connect()


@pytest.fixture
def warehouse(empty_warehouse: psycopg.Connection) -> psycopg.Connection:
    """A connection to a warehouse with its schema, and no rows."""
    migrate(empty_warehouse, migrations())
    return empty_warehouse


@pytest.fixture
def load_through(warehouse: psycopg.Connection, star_lake: StarLake) -> LoadThrough:
    """Loads the lake into the warehouse through a run."""

    def load_through(
        sequence: int,
        *,
        rebuild: bool = False,
        lake: Lake = star_lake.lake,
        seconds_left: float = 60.0,
        lock_seconds: float = 30.0,
    ) -> LoadResult:
        return load(
            warehouse,
            lake,
            LoadRequest(f"run-{sequence}", sequence, rebuild),
            seconds_left=lambda: seconds_left,
            lock_seconds=lock_seconds,
        )

    return load_through
