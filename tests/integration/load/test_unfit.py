"""Rows that a column or a constraint of the warehouse does not allow."""

from decimal import Decimal
from typing import Any, LiteralString

import psycopg
import pytest

from lambdas.load.show import LoadedTable
from lambdas.load.verify import verify
from pipeline.errors import StarSchemaMismatch
from tests.fixtures.lake import PAYMENT_DIMENSIONS, StarLake
from tests.integration.load.conftest import AT_ONCE_AND_IN_STEPS, LoadThrough
from tests.integration.load.source import MadeUpSource

pytestmark = AT_ONCE_AND_IN_STEPS

TRIGGER: LiteralString = """
create function refuse() returns trigger language plpgsql as $$
begin
    if new.currency_code = 'BAD' then raise exception 'no such currency'; end if;
    return new;
end
$$;
create trigger refuse before insert or update on dim_currency
for each row execute function refuse()
"""
CURRENCIES: dict[str, tuple[LiteralString, dict[str, Any], str]] = {
    "a null": ("select 1", {"currency_name": None}, "currency_name is null"),
    "a text that is too long": (
        "alter table dim_currency alter currency_code type varchar(5)",
        {"currency_code": "TOO LONG"},
        "currency_code does not fit character varying(5)",
    ),
    "spaces that would be cut": (
        "alter table dim_currency alter currency_code type varchar(5)",
        {"currency_code": "GBP   "},
        "currency_code does not fit character varying(5)",
    ),
    "a space that would be padding": (
        "alter table dim_currency alter currency_code type character(3)",
        {"currency_code": "GB "},
        "currency_code does not fit character(3)",
    ),
    "a check": (
        "alter table dim_currency add constraint three check (currency_code <> 'BAD')",
        {"currency_code": "BAD"},
        "constraint three",
    ),
    "a unique index": (
        "create unique index one_each on dim_currency (currency_code)",
        {"currency_code": "GBP"},
        "constraint one_each",
    ),
    "a domain": (
        "create domain code as varchar constraint upper check (value <> 'BAD'); "
        "alter table dim_currency alter currency_code type code",
        {"currency_code": "BAD"},
        "constraint upper",
    ),
    "an index entry that is too large": (
        "create index by_code on dim_currency (currency_code)",
        {"currency_code": "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(9000))},
        "SQLSTATE 54000",
    ),
    "a trigger": (TRIGGER, {"currency_code": "BAD"}, "SQLSTATE P0001"),
    "a trigger with an SQLSTATE of its own": (
        TRIGGER.replace("such currency'", "such currency' using errcode = '45000'"),
        {"currency_code": "BAD"},
        "SQLSTATE 45000",
    ),
    "a trigger that waits for the commit": (
        TRIGGER.replace("create trigger", "create constraint trigger")
        .replace("before insert", "after insert")
        .replace("for each row", "deferrable initially deferred for each row"),
        {"currency_code": "BAD"},
        "SQLSTATE P0001",
    ),
    "a reference that is checked at the commit": (
        "create table code (code varchar primary key); "
        "insert into code values ('GBP'), ('EUR'), ('USD'), ('CHF'); "
        "insert into code select generate_series(100, 400)::varchar; "
        "alter table dim_currency add constraint known foreign key (currency_code) "
        "references code deferrable initially deferred",
        {"currency_code": "BAD"},
        "constraint known",
    ),
}


def currencies(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    query = "select currency_id, currency_code from dim_currency order by 1"
    return connection.execute(query).fetchall()


def reasons(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select table_name, key, reasons -> 0 ->> 'rule' from waiting_row order by 1, 2"
    ).fetchall()


@pytest.mark.parametrize("kind", CURRENCIES)
def test_a_dimension_row_that_is_not_allowed_waits_and_its_last_state_stays(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough, kind: str
) -> None:
    change, values, rule = CURRENCIES[kind]
    warehouse.execute(change)
    star_lake.add_star_rows(
        "dim_currency",
        {"currency_id": 1, "currency_code": "EUR"},
        {"currency_id": 2, "currency_code": "GBP"},
    )
    load_through(1)
    star_lake.add_star_rows(
        "dim_currency",
        {"currency_id": 1, **values},
        {"currency_id": 3, "currency_code": "USD"},
        *({"currency_id": number, "currency_code": str(number)} for number in range(100, 400)),
        sequence=2,
    )

    result = load_through(2)

    assert result.dimension_rows_waiting == 1
    assert LoadedTable("dim_currency", 301, 0, waiting=1) in result.tables
    assert currencies(warehouse)[:3] == [(1, "EUR"), (2, "GBP"), (3, "USD")]
    assert reasons(warehouse) == [("dim_currency", "1", rule)]
    assert load_through(2).dimension_rows_waiting == 1
    star_lake.add_star_rows("dim_currency", {"currency_id": 1, "currency_code": "CHF"}, sequence=3)
    assert load_through(3).dimension_rows_waiting == 0
    assert (currencies(warehouse)[0], reasons(warehouse)) == ((1, "CHF"), [])


def test_a_row_arrives_when_the_warehouse_allows_it(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    warehouse.execute("alter table dim_currency add constraint no check (currency_id <> 2)")
    star_lake.add_star_rows("dim_currency", {"currency_id": 2, "currency_code": "GBP"})
    assert load_through(1).dimension_rows_waiting == 1

    warehouse.execute("alter table dim_currency drop constraint no")

    assert load_through(1).dimension_rows_waiting == 0
    assert currencies(warehouse) == [(2, "GBP")]


@pytest.mark.parametrize(
    ("change", "values", "rule"),
    [
        (
            "alter table fact_payment alter payment_amount type numeric(6,2)",
            {"payment_amount": Decimal("1.234")},
            "payment_amount does not fit numeric(6,2)",
        ),
        (
            "alter table fact_payment alter payment_amount type numeric(6,2)",
            {"payment_amount": Decimal("10000")},
            "payment_amount does not fit numeric(6,2)",
        ),
        (
            "alter table fact_payment alter payment_id type smallint",
            {"payment_id": 32768},
            "payment_id does not fit smallint",
        ),
        (
            "alter table fact_payment alter created_time type time(0)",
            {"created_time": "09:30:00.000001"},
            "created_time does not fit time(0) without time zone",
        ),
        (
            "alter table fact_payment add constraint positive check (payment_amount > 0)",
            {"payment_amount": Decimal("-1")},
            "constraint positive",
        ),
    ],
)
def test_a_fact_that_is_not_allowed_waits_and_the_others_arrive(
    warehouse: psycopg.Connection,
    star_lake: StarLake,
    load_through: LoadThrough,
    change: LiteralString,
    values: dict[str, Any],
    rule: str,
) -> None:
    warehouse.execute("drop view current_payment")
    warehouse.execute(change)
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows(
        "fact_payment", {"payment_record_id": 1, **values}, {"payment_record_id": 2}
    )

    result = load_through(1)

    assert result.facts_waiting == 1
    assert reasons(warehouse) == [("fact_payment", "1", rule)]
    rows = warehouse.execute("select payment_record_id, payment_amount from fact_payment")
    assert rows.fetchall() == [(2, Decimal("1.5"))]


def test_a_row_that_a_trigger_skips_waits_until_the_trigger_lets_it_in(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    warehouse.execute(
        "create function skip() returns trigger language plpgsql as $$ "
        "begin if new.payment_record_id = 2 then return null; end if; return new; end $$; "
        "create trigger skip before insert on fact_payment for each row execute function skip()"
    )
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {"payment_record_id": 1}, {"payment_record_id": 2})

    assert [load_through(run).facts_waiting for run in (1, 2)] == [1, 1]

    assert reasons(warehouse) == [("fact_payment", "2", "trigger skip skips the row")]
    warehouse.execute("drop trigger skip on fact_payment")
    assert load_through(3).facts_waiting == 0
    rows = warehouse.execute("select payment_record_id from fact_payment order by 1").fetchall()
    assert (rows, reasons(warehouse)) == ([(1,), (2,)], [])


def test_a_rule_that_refuses_most_rows_leaves_its_table_as_it_was_and_is_named(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    warehouse.execute("alter table dim_currency add constraint no check (currency_id < 100)")
    star_lake.add_star_rows("dim_currency", *({"currency_id": number} for number in range(1300)))
    star_lake.add_star_rows("dim_design", {})

    with pytest.raises(StarSchemaMismatch, match=r"refuses more than 1,000 rows.*constraint"):
        load_through(1)

    assert currencies(warehouse) == []
    assert warehouse.execute("select design_id from dim_design").fetchall() == [(1,)]


def test_waiting_dimension_rows_are_no_differences_and_their_content_is_compared(
    warehouse: psycopg.Connection,
    star_lake: StarLake,
    load_through: LoadThrough,
    raw_bucket: str,
    s3: Any,
) -> None:
    star_lake.add_star_rows("dim_currency", {"currency_code": "OLD"})
    load_through(1)
    star_lake.replace(
        "dim_currency",
        {
            **{"currency_id": 1, "currency_code": "NEW", "currency_name": None},
            **{"is_deleted": False, "run_id": "run-2", "_sequence": 2},
        },
    )
    load_through(2)
    source = MadeUpSource(raw_bucket, s3)
    source.makes("dim_currency", {"currency_code": "NEW", "currency_name": None})

    verified = verify(
        warehouse,
        star_lake.lake,
        source.fingerprints(),
        sequence=2,
        seconds_left=lambda: 60.0,
    )

    found = {one.table: one for one in verified}["dim_currency"]
    assert (found.rows, found.versions, found.waiting) == (1, 0, 1)
    assert currencies(warehouse) == [(1, "OLD")]
