"""Partitioned tables, and tables that others inherit from, are handled by their leaves."""

import dataclasses
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from lambdas.ingest import change_capture, chunks
from pipeline.errors import SourceBusy
from pipeline.manifest import Capture
from tests.integration.ingest.ingestion import Ingestion, captures, not_taken

PARTITIONED = (
    "create table sales (id integer primary key, note text) partition by range (id)",
    "create table sales_1 partition of sales for values from (0) to (1000)",
    "create schema archive",
    "create table archive.sales_2 partition of sales for values from (1000) to (2000) "
    "partition by range (id)",
    "create table archive.sales_2a partition of archive.sales_2 for values from (1000) to (1500)",
    "create table sales_2b partition of archive.sales_2 for values from (1500) to (2000)",
    "create table sales_rest partition of sales default",
)
INHERITED = (
    "create table sales (id integer primary key, note text)",
    "create table sales_1 (extra integer, primary key (id)) inherits (sales)",
    "create table sales_2a (primary key (id)) inherits (sales_1)",
)
FILL = "insert into {} select n, repeat('x', 50) from generate_series({}, {}) as n"
STATISTICS = "select pg_stat_force_next_flush()"


@pytest.fixture(params=["partitioned", "inherited"])
def sales(
    request: pytest.FixtureRequest, ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> Ingestion:
    """A table of several leaves that counts as large, of which a first run has taken all rows."""
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 4 * 8192)
    monkeypatch.setattr(change_capture, "LARGE_TABLE_BYTES", 0)
    if request.param == "partitioned":
        ingestion.execute(*PARTITIONED)
        statements = ["insert into sales select n, repeat('x', 50) from generate_series(1, 1999) n"]
    else:
        ingestion.execute(*INHERITED)
        statements = [
            "insert into sales select n, repeat('x', 50) from generate_series(1, 600) n",
            "insert into sales_1 select n, repeat('x', 50) from generate_series(601, 1000) n",
            "insert into sales_2a select n, repeat('x', 50) from generate_series(1001, 1999) n",
        ]
    with ingestion.connect() as connection:
        for statement in statements:
            connection.execute(statement.encode())
        connection.execute(STATISTICS)
    ingestion.run()
    return ingestion


def ids(ingestion: Ingestion) -> list[int]:
    return sorted(row["id"] for row in ingestion.taken("sales"))


def test_all_rows_are_taken_chunk_by_chunk(sales: Ingestion) -> None:
    assert ids(sales) == list(range(1, 2000))
    assert len(sales.manifest().tables["sales"].files) > 4
    assert {"id", "note"} == sales.taken("sales")[0].keys()


def test_a_run_that_changed_nothing_in_it_reads_nothing_of_it(sales: Ingestion) -> None:
    sales.execute("create table other (id integer)")

    result = sales.run()

    assert captures(result)["sales"] == (Capture.NONE, 0)
    assert result.scanned_bytes == 0


@pytest.mark.parametrize("identifier", [1, 700, 1200, 1999])
def test_a_change_in_any_leaf_is_taken(sales: Ingestion, identifier: int) -> None:
    with sales.connect() as connection:
        connection.execute("update sales set note = 'changed' where id = %s", [identifier])
        connection.execute(STATISTICS)

    result = sales.run()

    assert captures(result)["sales"] == (Capture.CHANGES, 1)
    assert sales.taken("sales") == [{"id": identifier, "note": "changed"}]
    assert not sales.manifest().tables["sales"].keys_swept


@pytest.mark.parametrize("identifier", [1, 700, 1200, 1999])
def test_a_deletion_in_any_leaf_shows_in_a_sweep(sales: Ingestion, identifier: int) -> None:
    with sales.connect() as connection:
        connection.execute("delete from sales where id = %s", [identifier])
        connection.execute(STATISTICS)

    sales.run()

    swept = {row["id"] for row in sales.swept("sales")}
    assert swept == set(range(1, 2000)) - {identifier}


def test_a_leaf_that_is_emptied_shows_in_a_sweep(sales: Ingestion) -> None:
    sales.execute("truncate only sales_1")

    sales.run()

    with sales.connect() as connection:
        left = {id_ for (id_,) in connection.execute("select id from sales")}
    taken = {row["id"] for row in sales.files(sales.manifest().tables["sales"].key_files)}
    assert (taken or set(ids(sales))) == left


def test_a_leaf_that_no_longer_belongs_to_it_shows(sales: Ingestion) -> None:
    with sales.connect() as connection:
        kind = connection.execute("select relkind from pg_class where oid = 'sales'::regclass")
        is_partitioned = kind.fetchone() == ("p",)
    if is_partitioned:
        sales.execute("alter table sales detach partition sales_1")
    else:
        sales.execute("alter table sales_2a no inherit sales_1")

    sales.run()

    entry = sales.manifest().tables["sales"]
    keys = sales.files(entry.key_files if entry.key_files else entry.files)
    with sales.connect() as connection:
        left = {id_ for (id_,) in connection.execute("select id from sales")}
    assert entry.keys_swept
    assert {row["id"] for row in keys} == left


@pytest.mark.parametrize(
    "statement",
    [
        "truncate sales_2a_or_rest",
        "alter table sales drop column note, add column note text default 'other'",
        "alter table sales_1 alter column note set default 'a', alter column note drop default",
        "vacuum (full) sales_1",
    ],
)
def test_a_table_one_of_whose_leaves_is_altered_while_a_run_reads_is_not_taken(
    sales: Ingestion, statement: str
) -> None:
    before = sales.manifest()
    text = statement.replace("sales_2a_or_rest", "sales_1")

    def alter(_: psycopg.Connection) -> None:
        with psycopg.connect(sales.dsn, autocommit=True) as other:
            other.execute(text.encode())

    connect = sales.at_snapshot(alter)
    with pytest.raises(SourceBusy, match="table sales cannot be read now"):
        sales.run(connect=connect, full_refresh=("sales",), is_last_attempt=False)

    assert sales.manifest() == before
    assert captures(sales.run(full_refresh=("sales",)))["sales"][1] > 0


@pytest.fixture
def reader(ingestion: Ingestion) -> Iterator[Ingestion]:
    """A partitioned source for a role that may read the table, and none of its leaves."""
    ingestion.execute(
        *PARTITIONED,
        "insert into sales select n, 'x' from generate_series(1, 2500) as n",
        "create role reader login password 'secret'",
        "grant select on sales to reader",
    )
    dsn = make_conninfo(ingestion.dsn, user="reader", password="secret")
    yield dataclasses.replace(ingestion, dsn=dsn)
    ingestion.execute("drop owned by reader", "drop role reader")


@pytest.mark.parametrize(
    "rights",
    [
        ("select",),
        ("grant select on sales_1 to reader",),
        ("grant select on archive.sales_2a to reader",),
        (
            "grant select on sales_2b, sales_rest to reader",
            "grant usage on schema archive to reader",
        ),
        (
            "grant select on sales_1 to reader",
            "create policy none on sales_1 using (false)",
            "alter table sales_1 enable row level security",
        ),
    ],
)
def test_the_rights_and_policies_are_those_of_the_table(
    ingestion: Ingestion,
    reader: Ingestion,
    rights: tuple[LiteralString, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2 * 8192)
    if rights != ("select",):
        ingestion.execute(*rights)

    result = reader.run()

    assert not_taken(result) == {}
    assert ids(reader) == list(range(1, 2501))


def test_a_leaf_that_may_be_read_does_not_open_a_table_that_may_not(
    ingestion: Ingestion, reader: Ingestion
) -> None:
    ingestion.execute("revoke all on sales from reader", "grant select on sales_1 to reader")

    result = reader.run(full_refresh=True)

    assert "42501" in not_taken(result)["sales"]


def test_the_virtual_columns_are_those_of_the_table(ingestion: Ingestion) -> None:
    ingestion.execute(
        "create table priced (id integer primary key, "
        "price integer generated always as (id * 2) virtual) partition by range (id)",
        "create table priced_1 (id integer not null, "
        "price integer generated always as (id * 3) virtual)",
        "alter table priced attach partition priced_1 for values from (0) to (10)",
        "insert into priced values (1)",
    )
    with ingestion.connect() as connection:
        shown = connection.execute("select price from priced").fetchall()

    ingestion.run()

    assert [(row["price"],) for row in ingestion.taken("priced")] == shown


def test_a_row_that_cannot_be_read_waits_whatever_its_leaf(ingestion: Ingestion) -> None:
    ingestion.execute(
        "create table priced (id integer primary key, "
        "price integer generated always as (100 / (id % 700)) virtual) partition by range (id)",
        "create table priced_1 partition of priced for values from (0) to (1000)",
        "create table priced_2 partition of priced for values from (1000) to (2000)",
        "insert into priced select generate_series(1, 1999)",
    )

    result = ingestion.run()

    waiting = ingestion.files(ingestion.manifest().tables["priced"].quarantine_files)
    assert not_taken(result) == {}
    assert [row["primary_key"] for row in waiting] == ['{"id": "700"}', '{"id": "1400"}']
    assert len(ingestion.taken("priced")) == 1997


def test_a_table_whose_foreign_leaf_cannot_be_read_costs_no_other(ingestion: Ingestion) -> None:
    ingestion.execute(
        "create foreign data wrapper nowhere",
        "create server elsewhere foreign data wrapper nowhere",
        "create table mixed (id integer) partition by range (id)",
        "create table mixed_1 partition of mixed for values from (0) to (10)",
        "create foreign table mixed_2 partition of mixed for values from (10) to (20) "
        "server elsewhere",
        "create table sound (id integer primary key)",
        "insert into sound values (1)",
    )

    result = ingestion.run()

    assert list(not_taken(result)) == ["mixed"]
    assert captures(result)["sound"] == (Capture.WHOLE, 1)


def test_a_table_that_has_been_read_is_free(ingestion: Ingestion) -> None:
    ingestion.execute(
        "create table a (id integer primary key)",
        "create table b (id integer primary key)",
        "insert into a values (1)",
        "insert into b values (1)",
    )
    locks: list[Any] = []

    def look() -> None:
        with ingestion.connect() as connection:
            locks.extend(
                connection.execute(
                    "select relation::regclass::text, mode from pg_locks "
                    "where relation in ('a'::regclass, 'b'::regclass)"
                )
            )

    with ingestion.before_put("raw/b/", look):
        ingestion.run()

    assert locks == []
