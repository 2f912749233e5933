"""Who reads the warehouse while it is loaded sees every run as a whole, and is never deadlocked."""

import datetime
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random

import psycopg
from psycopg import IsolationLevel, sql

from tests.fixtures.lake import DAY, DIMENSIONS, STAR, StarLake
from tests.integration.load.conftest import AT_ONCE_AND_IN_STEPS, Connect, LoadThrough

RUNS = 3
TABLES = (*STAR, "pipeline_run")
_LOOK_SECONDS = 0.002
"""How long a reader rests between two looks, in which the load goes on."""

Look = Callable[[psycopg.Connection], dict[str, int]]


def a_row_of_every_table(star_lake: StarLake, run: int) -> None:
    """Adds a run that brings one row to each table: so many rows has each, as there are runs."""
    for table, columns in STAR.items():
        if table == "dim_date":
            key: dict[str, object] = {"date_id": DAY + datetime.timedelta(days=run - 1)}
        elif table in DIMENSIONS:
            key = {columns[0].name: run}
        else:
            key = {columns[0].name: run, columns[1].name: run}
        star_lake.add_star_rows(table, key, sequence=run)


def by_one_statement(connection: psycopg.Connection) -> dict[str, int]:
    """Counts the rows of all tables by one statement, which has one snapshot."""
    counts = sql.SQL(", ").join(
        sql.SQL("(select count(*) from {})").format(sql.Identifier(table)) for table in TABLES
    )
    row = connection.execute(sql.SQL("select {}").format(counts)).fetchone()
    assert row is not None
    return dict(zip(TABLES, row, strict=True))


def by_one_transaction(connection: psycopg.Connection, order: Random) -> dict[str, int]:
    """Counts the rows of one table after another, in any order, inside one snapshot."""
    seen: dict[str, int] = {}
    with connection.transaction():
        for table in order.sample(TABLES, len(TABLES)):
            count = sql.SQL("select count(*) from {}").format(sql.Identifier(table))
            row = connection.execute(count).fetchone()
            assert row is not None
            seen[table] = row[0]
    return seen


def look_until(
    stop: threading.Event, connection: psycopg.Connection, look: Look
) -> list[dict[str, int]]:
    """Looks again and again, and once more after the end; a deadlock would be an error here."""
    seen = [look(connection)]
    while not stop.wait(_LOOK_SECONDS):
        seen.append(look(connection))
    return [*seen, look(connection)]


@AT_ONCE_AND_IN_STEPS
def test_a_reader_that_polls_never_sees_a_run_without_the_rest_of_it(
    warehouse: psycopg.Connection,
    connect: Connect,
    star_lake: StarLake,
    load_through: LoadThrough,
) -> None:
    for run in range(1, RUNS + 1):
        a_row_of_every_table(star_lake, run)
    looks: list[Look] = [
        by_one_statement,
        partial(by_one_transaction, order=Random(1)),
        partial(by_one_transaction, order=Random(2)),
    ]
    stop = threading.Event()
    with ThreadPoolExecutor(len(looks)) as pool:
        readers = []
        for look in looks:
            connection = connect()
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
            readers.append(pool.submit(look_until, stop, connection, look))
        try:
            for run in range(1, RUNS + 1):
                load_through(run)
        finally:
            stop.set()
        polled = [reader.result(60) for reader in readers]

    for seen in polled:
        runs = [counts["pipeline_run"] for counts in seen]
        assert [set(counts.values()) for counts in seen] == [{run} for run in runs]
        assert runs == sorted(runs)
        assert runs[-1] == RUNS
        assert len(seen) > RUNS
