"""A source whose schema changes: what is not needed flows, what is needed stops its table alone."""

import json
from datetime import date, time
from decimal import Decimal
from typing import LiteralString

import psycopg
import pytest

from pipeline.errors import TableBuildFailed
from tests.integration.build.world import Business, Star


def test_new_columns_of_any_type_flow_through_raw_without_harm(
    business: Business, star: Star
) -> None:
    business.run()
    star.build("fact_payment", "dim_staff")
    business.execute("""
alter table payment
    add column "odd `name`" varchar default 'x',
    add column "dotted.name" jsonb default '{}',
    add column small smallint default 1,
    add column big bigint default 1,
    add column single real default 1.5,
    add column double double precision default 1.5,
    add column exact numeric(5, 2) default 1.25,
    add column day date default '2024-02-29',
    add column instant timestamptz default '2024-02-29 12:00+02',
    add column bytes bytea default 'x',
    add column _sequence bigint default 7,
    add column "_METADATA" text default 'm',
    add column is_deleted boolean default true,
    add column run_id text default 'r',
    add column "PAID" boolean,
    add column "Payment_Date" text default 'never'""")
    business.execute("alter table department add column floor integer")
    business.execute("update payment set paid = not paid, small = null where payment_id = 1")
    business.execute("update payment set payment_date = 'soon' where payment_id = 2")
    business.run()

    assert star.build("fact_payment", "dim_staff") == {"fact_payment": 1, "dim_staff": 0}
    assert star.differences("fact_payment", "dim_staff") == []
    (waiting,) = star.rows("quarantine")
    assert json.loads(waiting["source_row"])["dotted.name"] == "{}"


def test_blanks_that_pad_a_value_change_no_row(business: Business, star: Star) -> None:
    tables = ("dim_currency", "dim_staff", "dim_design", "fact_payment")
    business.run()
    star.build(*tables)
    business.execute("create domain code as character(9)")
    business.execute("alter table currency alter column currency_code type code")
    business.execute("alter table payment alter column payment_date type character(12)")
    business.execute("alter table department alter column department_name type character(40)")
    business.execute("alter table design alter column design_name type bpchar")
    business.execute("update design set design_name = 'Oak  '::bpchar where design_id = 1")
    business.capture()

    assert star.build(*tables) == dict.fromkeys(tables, 0) | {"dim_design": 1}
    assert star.dimension("dim_design")[1]["design_name"] == "Oak"
    assert star.differences(*set(tables) - {"dim_design"}) == []


def test_a_dropped_column_stops_its_tables_and_the_others_go_on(
    business: Business, star: Star
) -> None:
    business.execute("alter table design drop column file_name")
    business.execute("alter table payment drop column payment_date")
    business.capture()

    with pytest.raises(TableBuildFailed) as failure:
        star.build("dim_design", "dim_currency", "fact_payment")

    assert "2 of 3 star tables were not built" in str(failure.value)
    assert "dim_design: SourceSchemaChanged: " in str(failure.value)
    assert "fact_payment: SourceSchemaChanged: " in str(failure.value)
    assert "file_name" in str(failure.value)
    assert len(star.rows("dim_currency")) == 3


def test_a_dropped_column_stops_its_tables_also_where_earlier_runs_had_it(
    business: Business, star: Star
) -> None:
    business.run()
    business.execute("alter table design drop column file_name")
    business.execute("alter table payment drop column payment_date")
    business.execute("alter table department drop column location")
    business.capture()

    with pytest.raises(TableBuildFailed, match="3 of 3 star tables") as failure:
        star.build("dim_design", "fact_payment", "dim_staff")

    assert str(failure.value).count("SourceSchemaChanged") == 3
    assert star.rows("quarantine") == []


def test_a_dropped_table_stops_what_reads_it(business: Business, star: Star) -> None:
    business.execute("drop table payment")
    business.capture()

    with pytest.raises(TableBuildFailed, match="fact_payment reads payment"):
        star.build("fact_payment", "dim_currency")

    assert len(star.rows("dim_currency")) == 3


def test_a_retyped_column_that_still_casts_flows_on(business: Business, star: Star) -> None:
    business.run()
    star.build("fact_sales_order", "fact_payment")
    business.execute("alter table sales_order alter column unit_price type numeric(12, 4)")
    business.execute(
        "alter table payment alter column payment_date type date using payment_date::date"
    )
    business.execute("update sales_order set unit_price = 2.0001 where sales_order_id = 1")
    business.execute("update payment set payment_date = '2024-02-29' where payment_id = 1")
    business.capture()

    rows = star.build("fact_sales_order", "fact_payment")

    assert rows == {"fact_sales_order": 1, "fact_payment": 1}


@pytest.mark.parametrize("kind", ["real", "double precision"])
def test_an_amount_of_a_floating_point_type_is_what_the_source_prints_in_any_build(
    business: Business, star: Star, kind: str
) -> None:
    amounts = [(1, "0.1"), (2, "3.14"), (3, "20000000"), (4, "0.0005"), (5, "-2.5")]
    business.execute("delete from payment where payment_id > 10")
    business.capture()
    star.build("fact_payment")
    with psycopg.connect(business.dsn) as connection:
        connection.execute(f"alter table payment alter column payment_amount type {kind}".encode())
        for key, amount in amounts:
            connection.execute(
                "update payment set payment_amount = %s where payment_id = %s", [amount, key]
            )
    business.capture()

    star.build("fact_payment")
    grown = star.fact("fact_payment")
    newest = {key: star.history("fact_payment", key)[-1]["payment_amount"] for key, _ in amounts}
    star.build("fact_payment", rebuild=True)

    assert newest == {key: Decimal(amount) for key, amount in amounts}
    assert star.fact("fact_payment") == grown


def test_a_moment_of_a_column_that_became_text_waits_if_it_is_no_timestamp(
    business: Business, star: Star
) -> None:
    business.execute("alter table payment alter column created_at type varchar")
    for key, text in enumerate(("soon", "2024-03-31 01:30:00+02", "2024-03-31 01:30:00.5"), 1):
        business.execute("update payment set created_at = %s where payment_id = %s", text, key)
    business.capture()

    star.build("fact_payment")

    held = {row["natural_key"]: row["broken_rules"] for row in star.rows("quarantine")}
    (third,) = star.history("fact_payment", 3)
    rule = "created_at is a timestamp, without a zone if it is text"
    assert held == {"1": [rule], "2": [rule]}
    assert third["created_date"] == date(2024, 3, 31)
    assert third["created_time"] == time(1, 30, 0, 500_000)
    assert len(star.rows("fact_payment")) > 2


def test_a_column_of_another_type_than_the_lake_has_stops_its_table(
    business: Business, star: Star
) -> None:
    business.run()
    star.build("fact_sales_order")
    business.execute("alter table sales_order alter column units_sold type numeric(12, 2)")
    business.run()

    with pytest.raises(TableBuildFailed, match=r"units_sold is int in .* and decimal\(12,2\) in"):
        star.build("fact_sales_order")


def test_columns_that_became_wider_integers_are_so_in_the_lake(
    business: Business, star: Star
) -> None:
    business.run()
    star.build("fact_sales_order", "dim_staff")
    for change in (
        "alter table sales_order alter column units_sold type bigint",
        "alter table staff alter column staff_id type bigint",
        "update sales_order set units_sold = 3000000000 where sales_order_id = 2",
        "update staff set first_name = 'Ada' where staff_id = 1",
    ):
        business.execute(change)
    business.run()

    built = {"fact_sales_order": 1, "dim_staff": 1}
    assert star.build("fact_sales_order", "dim_staff") == built
    assert star.differences("fact_sales_order", "dim_staff") == []
    star.build("fact_sales_order", "dim_staff", rebuild=True)
    assert star.differences("fact_sales_order", "dim_staff") == []


def test_a_raw_file_that_is_missing_stops_its_table_and_the_others_go_on(
    business: Business, star: Star
) -> None:
    business.run()
    (key,) = business.store.read(1).tables["design"].files
    held = business.client.get_object(Bucket=business.bucket, Key=key)["Body"].read()
    business.client.delete_object(Bucket=business.bucket, Key=key)

    with pytest.raises(TableBuildFailed, match=rf"1 of 2 .*dim_design: Raw.*{key} is missing"):
        star.build("dim_design", "dim_currency")

    assert len(star.rows("dim_currency")) == 3
    business.client.put_object(Bucket=business.bucket, Key=key, Body=held)
    star.build("dim_design", "dim_currency")
    assert star.differences("dim_design", "dim_currency") == []


@pytest.mark.parametrize("kind", ["smallint", "bigint"])
def test_integers_of_another_width_are_what_they_are(
    business: Business, star: Star, kind: LiteralString
) -> None:
    business.execute(f"alter table sales_order alter column currency_id type {kind}")
    business.run()
    star.build("fact_sales_order")
    business.execute("update sales_order set units_sold = units_sold + 1 where sales_order_id = 2")
    business.run()

    assert star.build("fact_sales_order") == {"fact_sales_order": 1}
    assert star.differences("fact_sales_order") == []
