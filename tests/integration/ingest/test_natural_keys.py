"""Deletions are told by the declared natural key, whatever primary key the source has."""

from dataclasses import replace
from typing import Any, LiteralString

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from lambdas.ingest import natural_keys
from pipeline.manifest import Capture
from star_schema.sources import declared_source
from tests.integration.ingest.ingestion import Ingestion, captures, not_taken

PAYMENTS = """create table payment (
    payment_id integer primary key,
    company_ac_number integer not null,
    paid boolean not null
)"""


@pytest.fixture
def payments(ingestion: Ingestion) -> Ingestion:
    """A source of three payments, which a first run has taken."""
    ingestion.execute(
        PAYMENTS, "insert into payment values (1, 70, false), (2, 60, false), (3, 50, false)"
    )
    ingestion.run()
    return ingestion


@pytest.mark.parametrize(
    "primary_key",
    [
        "add primary key (company_ac_number, payment_id)",
        "add primary key (payment_id, company_ac_number)",
        "add primary key (company_ac_number)",
        "add primary key (payment_id) include (company_ac_number)",
        "add primary key (payment_id) deferrable initially deferred",
        "add unique (payment_id)",
        "alter column payment_id drop not null",
    ],
)
def test_a_changed_primary_key_does_not_change_what_tells_a_deletion(
    payments: Ingestion, primary_key: Any
) -> None:
    payments.execute(
        "alter table payment drop constraint payment_pkey", f"alter table payment {primary_key}"
    )
    payments.run()
    payments.execute("delete from payment where payment_id = 2")

    payments.run()

    assert payments.swept("payment") == [{"payment_id": 1}, {"payment_id": 3}]


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (("insert into payment values (2, 61, true)",), "2 rows with payment_id '2'"),
        (
            (
                "alter table payment alter column payment_id drop not null",
                "insert into payment values (null, 61, true)",
            ),
            "1 rows with payment_id null",
        ),
        (
            (
                "create table late_payment () inherits (payment)",
                "insert into late_payment values (2, 61, true)",
            ),
            "2 rows with payment_id '2'",
        ),
    ],
    ids=["a key that comes twice", "a row without a key", "a child's key"],
)
def test_a_natural_key_that_does_not_identify_the_rows_stops_the_table(
    payments: Ingestion, statements: tuple[Any, ...], found: str
) -> None:
    payments.execute("alter table payment drop constraint payment_pkey", *statements)

    result = payments.run()

    assert found in {one.table: one.not_taken for one in result.tables}["payment"]
    assert payments.manifest().tables["payment"].capture is Capture.NONE


@pytest.mark.parametrize(
    "constraint",
    [
        "add unique (payment_id)",
        "add primary key (payment_id)",
    ],
)
def test_a_key_that_a_constraint_guarantees_is_not_searched(
    payments: Ingestion, constraint: Any
) -> None:
    payments.execute(
        "alter table payment drop constraint payment_pkey", f"alter table payment {constraint}"
    )
    statements: list[str] = []

    class Connection(psycopg.Connection[Any]):
        def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            statements.append(str(query))
            return super().execute(query, *args, **kwargs)

    payments.run(connect=lambda: Connection.connect(payments.dsn))

    assert statements
    assert not [statement for statement in statements if "having count(*)" in statement]


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (
            (
                "create table note (id integer primary key, text text)",
                "create table late_note () inherits (note)",
                "insert into note values (1, 'a')",
                "insert into late_note values (1, 'b'), (2, 'c')",
            ),
            "2 rows with id '1'",
        ),
        (
            (
                "create table note (id integer not null, text text not null) "
                "partition by list (text)",
                "create table note_a partition of note for values in ('a')",
                "alter table only note add primary key (id, text)",
                "insert into note values (1, 'a'), (1, 'a'), (2, 'a')",
            ),
            "2 rows with id, text '1, a'",
        ),
        (
            (
                "create table note (id integer primary key deferrable, text text)",
                "insert into note values (1, 'a')",
                "begin; set local session_replication_role = replica; "
                "insert into note values (1, 'b'); commit",
            ),
            "2 rows with id '1'",
        ),
    ],
    ids=["a child's row", "a key of no partition", "a check that is switched off"],
)
def test_a_primary_key_that_does_not_identify_the_rows_stops_the_table(
    ingestion: Ingestion, statements: tuple[Any, ...], found: str
) -> None:
    ingestion.execute("create table other (id integer)", *statements)

    result = ingestion.run()

    assert found in not_taken(result)["note"]
    assert "other" in ingestion.manifest().tables


def test_included_columns_are_no_key_columns(ingestion: Ingestion) -> None:
    ingestion.execute(
        "create table pair (a integer, b integer, primary key (a) include (b))",
        "insert into pair values (1, 2), (3, 4)",
    )
    ingestion.run()
    ingestion.execute("update pair set b = 5 where a = 1")

    result = ingestion.run()

    assert ingestion.manifest().tables["pair"].primary_key == ("a",)
    assert captures(result) == {"pair": (Capture.CHANGES, 1)}
    assert not ingestion.manifest().tables["pair"].keys_swept


def test_a_natural_key_that_changes_is_a_deletion_and_a_new_row(payments: Ingestion) -> None:
    payments.execute(
        "alter table payment drop constraint payment_pkey",
        "alter table payment add primary key (company_ac_number, payment_id)",
    )
    payments.run()
    payments.execute("update payment set payment_id = 9 where payment_id = 3")

    payments.run()

    assert [row["payment_id"] for row in payments.taken("payment")] == [9]
    assert payments.swept("payment") == [{"payment_id": key} for key in (1, 2, 9)]


def test_a_table_without_a_declaration_is_swept_by_its_primary_key(ingestion: Ingestion) -> None:
    ingestion.execute(
        "create table pair (a integer, b integer, primary key (b, a))",
        "insert into pair values (1, 2), (3, 4)",
    )
    ingestion.run()
    ingestion.execute("delete from pair where a = 1")

    ingestion.run()

    assert ingestion.swept("pair") == [{"a": 3, "b": 4}]
    assert ingestion.manifest().tables["pair"].natural_key == ("b", "a")


def test_a_key_that_a_declaration_changed_takes_the_table_whole(
    payments: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    redeclared = replace(declared_source("payment"), natural_key="company_ac_number")
    monkeypatch.setattr(natural_keys, "source_declaration", lambda _: redeclared)

    assert captures(payments.run()) == {"payment": (Capture.WHOLE, 3)}
    assert payments.manifest().tables["payment"].natural_key == ("company_ac_number",)


KEYS: tuple[LiteralString, ...] = (
    "primary key (payment_id)",
    "primary key (company_ac_number, payment_id)",
    "primary key (payment_id, company_ac_number)",
    "primary key (payment_id) include (company_ac_number)",
    "unique (payment_id)",
    "check (payment_id > 0)",
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["write", "delete", "move"]), st.integers(1, 5)),
        st.tuples(st.just("key"), st.integers(0, len(KEYS) - 1)),
        st.tuples(st.just("run"), st.just(0)),
    ),
    max_size=15,
)


class Payments:
    """A table whose rows and keys change, and what its captures show of it."""

    def __init__(self, ingestion: Ingestion) -> None:
        self.ingestion = ingestion
        self.held: dict[int, int] = {}
        self.versions = 0
        ingestion.execute("drop table if exists payment", PAYMENTS)
        ingestion.execute("alter table payment rename constraint payment_pkey to key")

    def step(self, action: str, number: int) -> None:
        """Does one thing."""
        self.versions += 1
        with self.ingestion.connect() as connection:
            if action == "write":
                connection.execute("delete from payment where payment_id = %s", [number])
                connection.execute(
                    "insert into payment values (%s, %s, true)", [number, self.versions]
                )
            elif action == "delete":
                connection.execute("delete from payment where payment_id = %s", [number])
            elif action == "move":
                connection.execute(
                    "update payment set payment_id = %s where payment_id = %s",
                    [self.versions + 10, number],
                )
            elif action == "key":
                connection.execute("alter table payment drop constraint key")
                connection.execute(
                    sql.SQL("alter table payment add constraint key {}").format(
                        sql.SQL(KEYS[number])
                    )
                )
        if action == "run":
            self.run()

    def run(self) -> None:
        """Ingests, and applies what was captured as a reader of the raw zone does."""
        if not self.ingestion.run().committed:
            return
        capture = self.ingestion.manifest().tables["payment"]
        rows = self.ingestion.files(capture.files)
        self.held |= {row["payment_id"]: row["company_ac_number"] for row in rows}
        if capture.keys_swept:
            kept = rows if capture.capture is Capture.WHOLE else self.swept()
            keys = {row["payment_id"] for row in kept}
            self.held = {key: row for key, row in self.held.items() if key in keys}

    def swept(self) -> list[dict[str, Any]]:
        """Returns the keys that the newest run swept."""
        return self.ingestion.swept("payment")

    def source(self) -> dict[int, int]:
        """Returns what the source shows."""
        query = "select payment_id, company_ac_number from payment"
        with self.ingestion.connect() as connection:
            return dict(connection.execute(query).fetchall())


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_after_any_history_of_rows_and_keys_the_captures_show_the_source(
    ingestion: Ingestion, steps: list[tuple[str, int]]
) -> None:
    payments = Payments(ingestion)
    payments.run()
    for step in [*steps, ("run", 0)]:
        payments.step(*step)
        if step[0] == "run":
            assert payments.held == payments.source()
