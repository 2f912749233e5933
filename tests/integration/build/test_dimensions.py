"""Dimensions: the latest state, one row a key."""

from dataclasses import replace
from datetime import date

import pytest
from pyspark.sql import SparkSession

from pipeline.errors import TableBuildFailed
from star_schema.tables import StarColumn
from tests.integration.build.world import STARS, Business, Star


def test_a_renamed_department_refreshes_its_staff_alone(business: Business, star: Star) -> None:
    business.run()
    star.build("dim_staff")
    business.execute("update department set department_name = 'Treasury' where department_id = 5")
    business.run()

    rows = star.build("dim_staff")

    refreshed = [row for row in star.dimension("dim_staff").values() if row["run_id"] == "run-2"]
    assert rows == {"dim_staff": len(refreshed)}
    assert {row["department_name"] for row in refreshed} == {"Treasury"}
    assert star.differences("dim_staff") == []


def test_a_corrected_address_refreshes_its_counterparties_alone(
    business: Business, star: Star
) -> None:
    business.run()
    star.build("dim_counterparty", "dim_location")
    business.execute(
        "update address set postal_code = '00042' "
        "where address_id in (select legal_address_id from counterparty where counterparty_id < 3)"
    )
    business.run()

    star.build("dim_counterparty", "dim_location")

    refreshed = {
        key: row["counterparty_legal_postal_code"]
        for key, row in star.dimension("dim_counterparty").items()
        if row["run_id"] == "run-2"
    }
    assert refreshed == {1: "00042", 2: "00042"} | dict.fromkeys(refreshed, "00042")
    assert star.differences("dim_counterparty", "dim_location") == []


def test_a_deleted_row_of_a_joined_dimension_is_kept_as_deleted(
    business: Business, star: Star
) -> None:
    business.execute(
        "insert into staff (staff_id, first_name, last_name, department_id, email_address) "
        "values (77, 'Ada', 'Byron', 1, 'ada@example.com')"
    )
    business.run()
    star.build("dim_staff")
    business.execute("delete from staff where staff_id = 77")
    business.run()

    star.build("dim_staff")

    ada = star.dimension("dim_staff")[77]
    assert (ada["first_name"], ada["is_deleted"], ada["run_id"]) == ("Ada", True, "run-2")
    assert star.differences("dim_staff") == []


def test_a_currency_code_that_iso_4217_does_not_know_keeps_the_code_as_its_name(
    business: Business, star: Star
) -> None:
    business.execute("insert into currency (currency_id, currency_code) values (9, 'ZZQ')")
    business.run()

    star.build("dim_currency")

    names = {
        row["currency_code"]: row["currency_name"]
        for row in star.dimension("dim_currency").values()
    }
    assert names == {"GBP": "Pound Sterling", "USD": "US Dollar", "EUR": "Euro", "ZZQ": "ZZQ"}


def test_the_calendar_has_whole_years_and_extends_itself_without_a_gap(
    business: Business, star: Star
) -> None:
    business.run()
    star.build("dim_date")
    years = {day.year for day in star.dimension("dim_date")}
    business.execute(
        "update payment set payment_date = %s where payment_id = 1", f"{max(years) + 3}-05-17"
    )
    business.run()

    star.build("dim_date")

    days = sorted(star.dimension("dim_date"))
    assert (days[0], days[-1]) == (date(min(years), 1, 1), date(max(years) + 3, 12, 31))
    assert len(days) == (days[-1] - days[0]).days + 1
    assert star.differences("dim_date") == []


def test_a_date_that_no_fact_can_hold_does_not_stretch_the_calendar(
    business: Business, star: Star
) -> None:
    business.execute("update payment set payment_date = '99999-12-31' where payment_id = 1")
    business.execute("update payment set payment_date = '0000-01-01' where payment_id = 2")
    business.run()

    star.build("dim_date")

    assert star.differences("dim_date") == []


def test_a_column_that_a_select_gains_arrives_with_a_rebuild(
    business: Business, star: Star, monkeypatch: pytest.MonkeyPatch
) -> None:
    business.run()
    star.build("dim_currency")
    select = STARS["dim_currency"].select.replace(
        "currency.currency_code,", "currency.currency_code, currency.created_at,", 1
    )
    columns = (*STARS["dim_currency"].columns, StarColumn("created_at", "timestamp_ntz", ""))
    changed = replace(STARS["dim_currency"], select=select, columns=columns)
    monkeypatch.setitem(STARS, "dim_currency", changed)
    business.run(full_refresh=True)

    with pytest.raises(TableBuildFailed, match=r'does not hold created_at yet.*"rebuild": true'):
        star.build("dim_currency")

    assert star.build("dim_currency", rebuild=True) == {"dim_currency": 3}
    assert all(row["created_at"] for row in star.rows("dim_currency"))


def test_a_rebuild_has_the_years_that_versions_mention_and_no_others(
    business: Business, star: Star, spark: SparkSession
) -> None:
    business.execute("update payment set payment_date = '2060-06-01' where payment_id = 1")
    business.run()
    star.build("dim_date")
    business.execute("update payment set payment_date = '2024-06-01' where payment_id = 1")
    business.run()
    # A version of the pipeline without bounds has built such a year.
    session = spark.newSession()
    session.conf.set("spark.sql.iceberg.snapshot-property.applied-through", "2")
    session.sql(
        f"insert into glue_catalog.{star.database}.dim_date select date'2300-12-31', 2300, 12, 31, "
        "1, 'Monday', 'December', 4, false, 'run-1', 1"
    )
    star.build("dim_date")
    assert max(star.dimension("dim_date")) == date(2300, 12, 31)

    star.build("dim_date", rebuild=True)

    assert max(star.dimension("dim_date")) == date(2060, 12, 31)
    assert star.differences("dim_date") == []


def test_a_date_beyond_the_calendar_makes_no_year(business: Business, star: Star) -> None:
    business.execute("update payment set payment_date = '9999-12-31' where payment_id = 1")
    business.execute("update sales_order set created_at = '1899-12-31' where sales_order_id = 1")
    business.run()

    star.build("dim_date", "fact_payment", "fact_sales_order")

    assert star.differences("dim_date", "fact_payment", "fact_sales_order") == []
    held = {row["star_table"]: row["broken_rules"] for row in star.rows("quarantine")}
    assert held == {
        "fact_payment": ["payment_date is between 1900-01-01 and 2199-12-31"],
        "fact_sales_order": ["created_at is between 1900-01-01 and 2199-12-31"],
    }
