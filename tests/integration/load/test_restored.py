"""One table of the warehouse that others restored to an earlier state, or emptied."""

from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from pipeline.errors import StarSchemaMismatch
from tests.fixtures.lake import PAYMENT_DIMENSIONS, StarLake, star_row
from tests.integration.load.conftest import AT_ONCE_AND_IN_STEPS, LoadThrough

PAYMENT, CURRENCY = "fact_payment", "dim_currency"
STATE: LiteralString = """
select to_jsonb(dim_currency) from dim_currency
union all
select to_jsonb(fact_payment) from fact_payment
union all
select jsonb_build_array(table_name, key, content) from waiting_row
union all
select to_jsonb(superseded_version) from superseded_version
order by 1
"""
LOST = [
    (CURRENCY, CURRENCY),
    (PAYMENT, PAYMENT),
    ("waiting_row", f"waiting_row has [01] rows of {PAYMENT}"),
    ("superseded_version", "superseded_version had payment_record_id 1"),
]


def state(warehouse: psycopg.Connection) -> list[tuple[object]]:
    return warehouse.execute(STATE).fetchall()


@pytest.fixture
def payments(star_lake: StarLake, load_through: LoadThrough) -> StarLake:
    """A lake with a payment and two currencies in run 1, which is loaded; more in run 2."""
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows(CURRENCY, {"currency_id": 2})
    star_lake.add_star_rows(
        PAYMENT,
        {"payment_record_id": 1, "payment_id": 1},
        {"payment_record_id": 2, "payment_id": 2, "transaction_id": 8},
    )
    load_through(1)
    star_lake.replace(
        CURRENCY,
        star_row(CURRENCY),
        star_row(CURRENCY, sequence=2, currency_id=2, currency_code="NEW"),
    )
    star_lake.add_star_rows(
        PAYMENT,
        {"payment_record_id": 3, "payment_id": 3, "transaction_id": 9},
        {"payment_record_id": 4, "payment_id": 1},
        sequence=2,
    )
    return star_lake


@pytest.mark.parametrize("is_emptied", [False, True], ids=["restored", "emptied"])
@pytest.mark.parametrize(("table", "named"), LOST)
def test_a_table_that_lost_what_was_loaded_is_named_until_the_warehouse_is_rebuilt(
    warehouse: psycopg.Connection,
    payments: StarLake,
    load_through: LoadThrough,
    table: str,
    named: str,
    *,
    is_emptied: bool,
) -> None:
    name = sql.Identifier(table)
    warehouse.execute(sql.SQL("create table backup as select * from {}").format(name))
    load_through(2)
    expected = state(warehouse)
    with warehouse.transaction():
        warehouse.execute("set local session_replication_role = replica")
        warehouse.execute(sql.SQL("delete from {}").format(name))
        if not is_emptied:
            restore = "insert into {} select * from backup"
            warehouse.execute(sql.SQL(restore).format(name))
    payments.add_star_rows("dim_payment_type", {"payment_type_id": 5}, sequence=3)

    with pytest.raises(StarSchemaMismatch, match=f"^{named}.*or an earlier state of it was restor"):
        load_through(3)

    types = warehouse.execute("select count(*) from dim_payment_type")
    assert types.fetchone() == (2,)
    load_through(3, rebuild=True)
    assert state(warehouse) == expected
    load_through(4)


@AT_ONCE_AND_IN_STEPS
def test_what_a_load_itself_changes_is_no_loss(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    warehouse.execute("alter table dim_currency add constraint old check (currency_code <> 'NEW')")
    load_through(2)
    warehouse.execute("alter table dim_currency drop constraint old")
    load_through(2)
    warehouse.execute("vacuum full dim_currency")
    load_through(3)
    warehouse.execute("delete from fact_payment; delete from dim_currency")
    payments.replace(CURRENCY, star_row(CURRENCY, sequence=4, currency_id=3))
    payments.replace(PAYMENT, star_row(PAYMENT, sequence=4, currency_id=7))

    load_through(4, rebuild=True)

    assert load_through(5).facts_waiting == 1


def test_a_dimension_of_which_a_rebuild_leaves_no_row_has_lost_none(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions("dim_design")
    load_through(1)
    star_lake.table("dim_design").delete()

    load_through(1, rebuild=True)
    load_through(2)

    assert warehouse.execute("select count(*) from dim_design").fetchone() == (0,)
