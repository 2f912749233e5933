"""Foreign keys that a load checks at once: what PostgreSQL would refuse waits, and nothing else."""

import re
import threading
from typing import Any, LiteralString

import psycopg
import pytest

from lambdas.load import foreign_keys
from lambdas.load.pace import Pace
from lambdas.load.show import LoadedTable
from pipeline.errors import StarSchemaMismatch
from tests.fixtures.lake import PAYMENT_DIMENSIONS, StarLake
from tests.integration.load.conftest import Connect, LoadThrough

pytestmark = pytest.mark.parametrize("pace", [Pace(rows_worth_checks=1)], indirect=True)

PAYMENTS: LiteralString = "select payment_record_id from fact_payment order by 1"
ORPHANS: LiteralString = (
    "select count(*) from fact_payment left join only dim_currency using (currency_id) "
    "where dim_currency.currency_id is null"
)


def rows(connection: psycopg.Connection, query: LiteralString) -> list[Any]:
    return [row[0] for row in connection.execute(query)]


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Gives whether each fact's foreign keys were checked at once."""
    seen: list[bool] = []
    lock_referenced = foreign_keys.lock_referenced

    def noted(*arguments: Any) -> bool:
        seen.append(lock_referenced(*arguments))
        return seen[-1]

    monkeypatch.setattr(foreign_keys, "lock_referenced", noted)
    return seen


@pytest.fixture
def payments(star_lake: StarLake) -> StarLake:
    """A lake of a payment that can be shown, and of one that refers to nothing."""
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {}, {"payment_record_id": 2, "currency_id": 9})
    return star_lake


def test_rows_without_their_dimension_rows_wait_and_the_checks_are_on_again(
    warehouse: psycopg.Connection,
    payments: StarLake,
    load_through: LoadThrough,
    checks: list[bool],
) -> None:
    result = load_through(1)

    assert LoadedTable("fact_payment", 1, 0, waiting=1) in result.tables
    assert (rows(warehouse, PAYMENTS), checks) == ([1], [True])
    assert rows(warehouse, "show session_replication_role") == ["origin"]
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        warehouse.execute("update fact_payment set currency_id = 9")


def test_rows_that_refer_to_the_same_dimension_row_are_checked_at_once(
    warehouse: psycopg.Connection,
    payments: StarLake,
    load_through: LoadThrough,
    checks: list[bool],
) -> None:
    payments.add_star_rows("fact_payment", {"payment_record_id": 3}, {"payment_record_id": 4})

    load_through(1)

    assert (rows(warehouse, PAYMENTS), checks) == ([1, 3, 4], [True])


def test_rows_of_a_table_that_inherits_are_no_dimension_rows(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    warehouse.execute(
        "create table dim_currency_old () inherits (dim_currency); "
        "insert into dim_currency_old values (9, 'OLD', 'Old', false, 'theirs')"
    )

    assert load_through(1).facts_waiting == 1

    assert rows(warehouse, PAYMENTS) == [1]
    reason = "select reasons -> 0 ->> 'rule' from waiting_row"
    assert rows(warehouse, reason) == ["dim_currency has no currency_id"]


@pytest.mark.parametrize(
    "others",
    [
        "create table kind (paid boolean primary key); insert into kind values (false); "
        "alter table fact_payment add foreign key (paid) references kind",
        "create table note (payment bigint references fact_payment)",
        "alter table fact_payment add unique (payment_id, payment_record_id) deferrable",
        "alter table dim_payment_type add unique (payment_type_id); create schema other; "
        "create table other.dim_currency (currency_id integer primary key); "
        "insert into other.dim_currency values (1); "
        "alter table fact_payment add foreign key (currency_id) references other.dim_currency",
        "create function f() returns trigger language plpgsql as $$ begin return new; end $$; "
        "create trigger t after insert on fact_payment for each row execute function f(); "
        "alter table fact_payment enable replica trigger t",
    ],
)
def test_a_table_with_other_checks_is_left_to_postgresql(
    warehouse: psycopg.Connection,
    payments: StarLake,
    load_through: LoadThrough,
    checks: list[bool],
    others: LiteralString,
) -> None:
    warehouse.execute(others)

    assert load_through(1).facts_waiting == 1

    assert (rows(warehouse, PAYMENTS), checks) == ([1], [False])


NAME: LiteralString = "fact_payment_currency_id_fkey"
AGAIN: LiteralString = (
    f"alter table fact_payment drop constraint {NAME}, "
    f"add constraint {NAME} foreign key (currency_id) references "
)


@pytest.mark.parametrize(
    "change",
    [
        f"alter table fact_payment drop constraint {NAME}",
        "alter table dim_currency drop constraint dim_currency_pkey cascade, "
        "add primary key (currency_id)",
        AGAIN + "dim_payment_type",
        "create schema other; create table other.dim_currency (currency_id integer primary key); "
        "insert into other.dim_currency values (1), (9); " + AGAIN + "other.dim_currency",
        "alter table dim_transaction add unique (purchase_order_id); "
        + AGAIN
        + "dim_transaction (purchase_order_id)",
    ],
)
def test_a_table_that_has_lost_a_foreign_key_is_named_and_the_others_are_loaded(
    warehouse: psycopg.Connection,
    payments: StarLake,
    load_through: LoadThrough,
    change: LiteralString,
) -> None:
    warehouse.execute(change)

    with pytest.raises(StarSchemaMismatch, match="fact_payment has lost foreign keys") as told:
        load_through(1)

    assert rows(warehouse, PAYMENTS) == []
    assert rows(warehouse, "select currency_id from dim_currency") == [1]
    warehouse.execute("alter table fact_payment drop constraint if exists " + NAME)
    for statement in re.findall("run `(.*?)`", str(told.value)):
        warehouse.execute(statement)
    assert load_through(1).facts_waiting == 1
    assert rows(warehouse, PAYMENTS) == [1]


def test_rows_that_came_while_a_foreign_key_was_lost_wait_after_a_rebuild(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    load_through(1)
    warehouse.execute(
        f"alter table fact_payment drop constraint {NAME}; insert into fact_payment "
        "select (jsonb_populate_record(null::fact_payment, content)).* from waiting_row; "
        f"delete from waiting_row; alter table fact_payment add constraint {NAME} "
        "foreign key (currency_id) references dim_currency not valid"
    )
    assert rows(warehouse, PAYMENTS) == [1, 2]

    assert load_through(1, rebuild=True).facts_waiting == 1

    assert rows(warehouse, PAYMENTS) == [1]
    warehouse.execute(f"alter table fact_payment validate constraint {NAME}")


def test_a_role_that_may_not_switch_the_checks_off_leaves_them_to_postgresql(
    warehouse: psycopg.Connection,
    payments: StarLake,
    load_through: LoadThrough,
    checks: list[bool],
) -> None:
    warehouse.execute(
        "create role modest; grant all on all tables in schema public to modest; "
        "grant create, usage on schema public to modest; "
        f"grant create on database {warehouse.info.dbname} to modest".encode()
    )
    warehouse.execute("set session authorization modest")
    try:
        assert load_through(1).facts_waiting == 1
    finally:
        warehouse.execute("reset session authorization; drop owned by modest; drop role modest")

    assert (rows(warehouse, PAYMENTS), checks) == ([1], [])


def test_nobody_deletes_a_dimension_row_between_the_check_and_the_commit(
    warehouse: psycopg.Connection,
    connect: Connect,
    payments: StarLake,
    load_through: LoadThrough,
    checks: list[bool],
) -> None:
    load_through(1)
    payments.add_star_rows("fact_payment", {"payment_record_id": 3}, sequence=2)
    other, watching = connect(), connect()
    with connect().transaction() as held:
        # The load waits for this lock when all rows are written.
        held.connection.execute("lock table pipeline_run in share row exclusive mode")
        loading = threading.Thread(target=load_through, args=(2,))
        loading.start()
        await_waiting(watching)
        other.execute("set lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("delete from dim_currency where currency_id = 1")
        reader = "select count(*) from fact_payment join dim_currency using (currency_id)"
        assert rows(other, reader) == [1]
    loading.join()

    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        other.execute("delete from dim_currency where currency_id = 1")
    assert (rows(warehouse, PAYMENTS), rows(warehouse, ORPHANS)) == ([1, 3], [0])
    assert checks == [True, True]


def test_a_dimension_row_that_is_deleted_before_the_check_is_missed_by_it(
    warehouse: psycopg.Connection,
    connect: Connect,
    payments: StarLake,
    load_through: LoadThrough,
    monkeypatch: pytest.MonkeyPatch,
    checks: list[bool],
) -> None:
    payments.add_star_rows("dim_currency", {"currency_id": 5})
    load_through(1)
    payments.add_star_rows(
        "fact_payment",
        {"payment_record_id": 3, "currency_id": 5},
        {"payment_record_id": 4},
        sequence=2,
    )
    lock_referenced = foreign_keys.lock_referenced

    def after_a_deletion(*arguments: Any) -> bool:
        connect().execute("delete from dim_currency where currency_id = 5")
        return lock_referenced(*arguments)

    monkeypatch.setattr(foreign_keys, "lock_referenced", after_a_deletion)

    assert load_through(2).facts_waiting == 2

    assert checks == [True, False]
    assert (rows(warehouse, PAYMENTS), rows(warehouse, ORPHANS)) == ([1, 4], [0])


def await_waiting(connection: psycopg.Connection) -> None:
    """Waits until a session waits for a lock on pipeline_run."""
    waiting: LiteralString = (
        "select count(*) from pg_locks where relation = 'pipeline_run'::regclass and not granted"
    )
    for _ in range(1_000):
        if rows(connection, waiting) != [0]:
            return
        connection.execute("select pg_sleep(0.02)")
    raise AssertionError("nobody waits")
