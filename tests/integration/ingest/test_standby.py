"""A standby that follows its primary server loses nothing, in the raw zone or in itself."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from lambdas.ingest import snapshot_export
from lambdas.ingest.snapshot_export import export_snapshot
from local.postgres import PostgresServer
from pipeline.errors import SourceBusy
from pipeline.manifest import Capture
from tests.fixtures.postgres import running_server, running_standby
from tests.integration.ingest.ingestion import Ingestion, captures

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SETTINGS = {"fsync": "off", "hot_standby_feedback": "on"}
_SAVEPOINTS = 100
"""More than the 64 of which a server tells its standbys each."""


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    """The primary server."""
    with running_server("primary", _SETTINGS) as server:
        yield server


@pytest.fixture
def standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    """Its standby."""
    with running_standby(primary, _SETTINGS) as server:
        yield server


@pytest.fixture
def orders(
    primary: PostgresServer, standby: PostgresServer, raw_bucket: str, s3: "S3Client"
) -> Iterator[Ingestion]:
    """One order at the primary server, which a first run has taken from the standby."""
    with psycopg.connect(primary.create_database("shop")) as connection:
        connection.execute("create table orders (order_id integer primary key)")
        connection.execute("insert into orders values (1)")
    wait_until_replayed(primary, standby)
    source = Ingestion(standby.dsn("shop"), raw_bucket, s3)
    source.run()
    yield source
    primary.drop_database("shop")


def wait_until_replayed(primary: PostgresServer, standby: PostgresServer) -> None:
    with (
        psycopg.connect(primary.dsn(), autocommit=True) as writer,
        psycopg.connect(standby.dsn(), autocommit=True) as reader,
    ):
        written = writer.execute("select pg_current_wal_flush_lsn()").fetchone()
        for _ in range(100_000):
            found = reader.execute("select pg_last_wal_replay_lsn() >= %s::pg_lsn", written)
            if found.fetchone() == (True,):
                return
    raise AssertionError("the standby does not follow")


@contextmanager
def orders_in_progress(
    primary: PostgresServer, standby: PostgresServer, savepoints: int
) -> Iterator[Callable[[], None]]:
    """Leaves a transaction that has written orders; gives what commits it."""
    with psycopg.connect(primary.dsn("shop")) as writer:
        for number in range(savepoints):
            with writer.transaction():
                writer.execute("insert into orders values (%s)", [100 + number])
        writer.execute("insert into orders values (2)")
        with psycopg.connect(primary.dsn("shop")) as other:
            other.execute("insert into orders values (3)")
        wait_until_replayed(primary, standby)

        def commit() -> None:
            writer.commit()
            wait_until_replayed(primary, standby)

        yield commit


def shown(server: PostgresServer) -> int:
    """Returns how many orders a server shows."""
    with psycopg.connect(server.dsn("shop")) as connection:
        row = connection.execute("select count(*) from orders").fetchone()
    return row[0] if row else 0


@pytest.mark.parametrize("savepoints", [0, 3, _SAVEPOINTS])
def test_a_transaction_in_progress_at_the_primary_loses_no_row(
    orders: Ingestion,
    primary: PostgresServer,
    standby: PostgresServer,
    savepoints: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot_export, "SECONDS_TO_WAIT", 0.0)
    with orders_in_progress(primary, standby, savepoints) as commit:
        with pytest.raises(SourceBusy, match="the address of the primary server"):
            orders.run()
        commit()

    result = orders.run()

    assert captures(result) == {"orders": (Capture.CHANGES, savepoints + 2)}
    assert shown(standby) == shown(primary) == savepoints + 3


def test_a_run_waits_for_an_instant_without_a_transaction_in_progress(
    orders: Ingestion,
    primary: PostgresServer,
    standby: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with orders_in_progress(primary, standby, _SAVEPOINTS) as commit:
        monkeypatch.setattr(time, "sleep", lambda _: commit())

        result = orders.run()

    assert captures(result) == {"orders": (Capture.CHANGES, _SAVEPOINTS + 2)}


def test_a_snapshot_of_a_standby_that_was_promoted_since_is_not_exported_either(
    orders: Ingestion, primary: PostgresServer, standby: PostgresServer
) -> None:
    with (
        orders_in_progress(primary, standby, _SAVEPOINTS),
        psycopg.connect(orders.dsn, autocommit=True) as reader,
    ):
        reader.execute("begin isolation level repeatable read read only")
        reader.execute("select")
        with psycopg.connect(orders.dsn, autocommit=True) as administrator:
            administrator.execute("select pg_promote()")

        with pytest.raises(SourceBusy):
            export_snapshot(reader)
