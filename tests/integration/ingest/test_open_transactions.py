"""A transaction that stays open, or a prepared one, makes no row come twice and loses none."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from lambdas.ingest import change_capture, chunks, open_transactions, transactions
from pipeline.manifest import Capture
from tests.integration.ingest.ingestion import Ingestion, captures


@pytest.fixture(params=["small", "large"])
def orders(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Ingestion:
    """Three orders, in a table that counts as small or large, which a first run has taken."""
    if request.param == "large":
        monkeypatch.setattr(change_capture, "LARGE_TABLE_BYTES", 0)
    ingestion.execute(
        "create table orders (order_id integer primary key, units integer)",
        "create table other (id serial primary key)",
        "insert into orders values (1, 1), (2, 1), (3, 1)",
    )
    run(ingestion)
    return ingestion


@contextmanager
def open_transaction(ingestion: Ingestion) -> Iterator[psycopg.Connection]:
    """Gives a transaction with an id, which commits when the context ends."""
    with ingestion.connect() as connection:
        connection.execute("select pg_current_xact_id()")
        yield connection


@pytest.fixture
def gid(orders: Ingestion) -> Iterator[str]:
    """The name of a transaction that a test may prepare; it is rolled back in the end."""
    name = f"held-{orders.bucket}"
    yield name
    with psycopg.connect(orders.dsn, autocommit=True) as connection:
        held = connection.execute("select gid from pg_prepared_xacts where gid = %s", [name])
        if held.fetchone():
            connection.execute(sql.SQL("rollback prepared {}").format(sql.Literal(name)))


def prepare(ingestion: Ingestion, gid: str) -> None:
    """Leaves a prepared transaction that has written a row."""
    with ingestion.connect() as connection:
        connection.execute("insert into orders values (10, 1)")
        connection.execute(sql.SQL("prepare transaction {}").format(sql.Literal(gid)))


def run(ingestion: Ingestion, **arguments: Any) -> dict[str, tuple[Capture, int]]:
    """Ingests once the counters are up to date, and returns what was taken of which tables."""
    ingestion.execute("select pg_stat_force_next_flush()")
    found = captures(ingestion.run(**arguments))
    return {name: taken for name, taken in found.items() if taken[0] is not Capture.NONE}


def insert(ingestion: Ingestion, *keys: int) -> None:
    with ingestion.connect() as connection:
        for key in keys:
            connection.execute("insert into orders values (%s, 1)", [key])
        connection.execute("select pg_stat_force_next_flush()")


def test_rows_committed_while_a_transaction_is_open_are_taken_once(orders: Ingestion) -> None:
    with open_transaction(orders):
        insert(orders, 4)
        assert run(orders) == {"orders": (Capture.CHANGES, 1)}
        assert run(orders) == {}
        insert(orders, 5)
        assert run(orders) == {"orders": (Capture.CHANGES, 1)}
        assert run(orders) == {}

    assert run(orders) == {}


def test_nothing_is_committed_while_a_transaction_stays_open_and_nothing_changes(
    orders: Ingestion,
) -> None:
    with open_transaction(orders):
        insert(orders, 4)
        run(orders)
        before = orders.objects()
        run(orders)

    assert orders.objects() == before


def test_what_the_open_transaction_wrote_is_taken_when_it_commits(orders: Ingestion) -> None:
    with open_transaction(orders) as late:
        late.execute("update orders set units = 100 where order_id = 1")
        insert(orders, 4)
        run(orders)
        insert(orders, 5)
        run(orders)

    assert run(orders) == {"orders": (Capture.CHANGES, 1)}
    assert orders.taken("orders") == [{"order_id": 1, "units": 100}]


def test_savepoints_of_an_open_transaction_are_taken_when_it_commits(orders: Ingestion) -> None:
    with open_transaction(orders) as late:
        insert(orders, 4)
        with late.transaction():
            late.execute("insert into orders values (10, 1)")
        insert(orders, 5)
        with late.transaction():
            late.execute("insert into orders values (11, 1)")
        run(orders)
        with late.transaction():
            late.execute("insert into orders values (12, 1)")
        insert(orders, 6)
        run(orders)

    assert run(orders) == {"orders": (Capture.CHANGES, 3)}
    assert sorted(row["order_id"] for row in orders.taken("orders")) == [10, 11, 12]


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_prepared_transaction_makes_no_row_come_twice_and_loses_none(
    orders: Ingestion, gid: str, end: str
) -> None:
    prepare(orders, gid)
    insert(orders, 4)
    assert run(orders) == {"orders": (Capture.CHANGES, 1)}
    assert run(orders) == {}
    with psycopg.connect(orders.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("{} prepared {}").format(sql.SQL(end), sql.Literal(gid)))

    expected = {"orders": (Capture.CHANGES, 1)} if end == "commit" else {}
    assert run(orders) == expected


def test_a_table_that_was_altered_while_a_transaction_is_open_is_taken_whole_once(
    orders: Ingestion,
) -> None:
    with open_transaction(orders):
        orders.execute("alter table orders add column note text default 'new'")
        assert run(orders) == {"orders": (Capture.WHOLE, 3)}
        assert run(orders) == {}
        orders.execute("create table third (id integer primary key)")
        assert run(orders) == {"third": (Capture.WHOLE, 0)}
        assert run(orders) == {}


def test_a_deletion_while_a_transaction_is_open_shows(orders: Ingestion) -> None:
    with open_transaction(orders):
        insert(orders, 4)
        run(orders)
        orders.execute("delete from orders where order_id = 4")
        run(orders)
        assert {row["order_id"] for row in orders.swept("orders")} == {1, 2, 3}
        insert(orders, 4)

        assert run(orders)["orders"][0] is Capture.CHANGES
        assert [row["order_id"] for row in orders.taken("orders")] == [4]


def test_beyond_the_bound_rows_come_again_and_none_is_lost(
    orders: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "CAPTURED_TRANSACTIONS", 2)
    with open_transaction(orders):
        for key in (4, 5, 6, 7):
            insert(orders, key)
        assert run(orders) == {"orders": (Capture.CHANGES, 4)}
        orders.execute("update orders set units = 2 where order_id = 1")

        assert run(orders)["orders"] == (Capture.CHANGES, 3)

    run(orders)
    assert len(orders.manifest().tables["orders"].captured_transactions) <= 2


def test_a_capture_of_several_snapshots_leaves_nothing_out_of_the_next(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 4 * 8192)
    with open_transaction(ingestion):
        ingestion.execute(
            "create table orders (id integer primary key, note text)",
            "insert into orders select n, repeat('x', 50) from generate_series(1, 3000) as n",
        )
        asked = iter([1000.0] * 3)
        ingestion.run(seconds_left=lambda: next(asked, 0.0))
        ingestion.execute("update orders set note = 'moved' where id in (1, 3000)")
        ingestion.run()
        assert ingestion.manifest().tables["orders"].captured_transactions == ()

        ingestion.run()

        assert {1, 3000} <= {row["id"] for row in ingestion.taken("orders")}


def test_a_transaction_open_for_long_is_named_with_its_session(
    orders: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_transactions, "LONG", timedelta(0))
    with open_transaction(orders) as late:
        pid = late.info.backend_pid
        insert(orders, 4)
        (warning,) = orders.run().warnings

    assert f"session {pid} (role postgres, database totesys" in warning
    assert f"select pg_terminate_backend({pid})" in warning
    assert not orders.run().warnings


def test_a_prepared_transaction_open_for_long_is_named(
    orders: Ingestion, gid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_transactions, "LONG", timedelta(0))
    prepare(orders, gid)
    insert(orders, 4)

    (warning,) = orders.run().warnings

    assert f"prepared transaction '{gid}'" in warning
    assert f"rollback prepared '{gid}'" in warning


def test_a_role_that_may_not_see_when_a_transaction_began_tells_by_the_last_run(
    orders: Ingestion, reader_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_transactions, "LONG", timedelta(0))
    with open_transaction(orders) as late:
        pid = late.info.backend_pid
        insert(orders, 4)
        first = orders.run(connect=lambda: psycopg.connect(reader_dsn))
        second = orders.run(connect=lambda: psycopg.connect(reader_dsn))

    assert first.warnings == ()
    assert f"session {pid}" in second.warnings[0]


def test_a_transaction_that_is_not_open_for_long_causes_no_warning(orders: Ingestion) -> None:
    with open_transaction(orders):
        insert(orders, 4)
        assert orders.run().warnings == ()
        assert orders.run().warnings == ()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["write", "savepoint"]), st.integers(0, 2), st.integers(1, 5)),
        st.tuples(st.sampled_from(["delete", "commit", "undo"]), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("run"), st.just(0), st.just(0)),
    ),
    max_size=25,
)


class History:
    """Sessions that write keys of their own, and what the runs have brought of it."""

    def __init__(self, ingestion: Ingestion) -> None:
        self.ingestion = ingestion
        self.sessions = [ingestion.connect() for _ in range(3)]
        self.held: dict[int, int] = {}
        self.versions = 0

    def step(self, action: str, session: int, number: int) -> None:
        """Does one thing; each session writes ten keys of its own."""
        connection, key = self.sessions[session], session * 10 + number
        self.versions += 1
        upsert = (
            "insert into orders values (%s, %s) on conflict (order_id) do update set units = %s"
        )
        if action == "write":
            connection.execute(upsert, [key, self.versions, self.versions])
        elif action == "savepoint":
            with connection.transaction():
                connection.execute(upsert, [key, self.versions, self.versions])
        elif action == "delete":
            connection.execute("delete from orders where order_id = %s * 10 + 1", [session])
        elif action == "commit":
            connection.commit()
        elif action == "undo":
            connection.rollback()
        else:
            self.run()

    def run(self) -> None:
        """Ingests, and applies what was captured as a reader of the raw zone does."""
        if not self.ingestion.run().committed:
            return
        capture = self.ingestion.manifest().tables["orders"]
        if capture.capture is Capture.NONE:
            return
        rows = self.ingestion.files(capture.files)
        self.held |= {row["order_id"]: row["units"] for row in rows}
        if capture.keys_swept:
            kept = self.ingestion.files(capture.key_files) if capture.key_files else rows
            keys = {row["order_id"] for row in kept}
            self.held = {key: units for key, units in self.held.items() if key in keys}

    def committed(self) -> dict[int, int]:
        """Returns what the source shows."""
        with self.ingestion.connect() as connection:
            return dict(connection.execute("select order_id, units from orders").fetchall())

    def close(self) -> None:
        for connection in self.sessions:
            connection.close()


@settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_after_any_history_of_open_transactions_the_captures_show_the_source(
    ingestion: Ingestion, steps: list[tuple[str, int, int]]
) -> None:
    ingestion.execute(
        "drop table if exists orders",
        "create table orders (order_id integer primary key, units integer)",
    )
    history = History(ingestion)
    history.run()
    try:
        for step in steps:
            history.step(*step)
            if step[0] == "run":
                assert history.held == history.committed()
        history.run()
        assert history.held == history.committed()
    finally:
        history.close()
