"""Spark decides the common rules as the oracle does."""

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from glue_jobs.build.checking import keeps_all
from glue_jobs.build.spark_sql import constant_rows
from star_schema.sources import declared_source
from tests.oracle.star import business_date, exact_amount
from tests.unit.star_schema.test_rules import AMOUNTS, TEXTS, is_read


# An example takes a second for however many values.
@settings(
    max_examples=3,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    dates=st.lists(TEXTS, min_size=60, max_size=80, unique=True),
    amounts=st.lists(AMOUNTS, min_size=60, max_size=80),
)
def test_dates_and_amounts_are_kept_as_the_oracle_reads_them(
    spark: SparkSession, dates: list[str], amounts: list[Any]
) -> None:
    rules = [
        rule
        for rule in declared_source("payment").rules.every
        if rule.demand.startswith(("payment_date ", "payment_amount "))
    ]
    rows = [
        {"place": place, "payment_date": day, "payment_amount": format(amount, "f")}
        for place, (day, amount) in enumerate(zip(dates, amounts, strict=False))
    ]
    session = spark.newSession()

    frame = constant_rows(session, rows, "place int, payment_date string, payment_amount string")
    kept = frame.where(keeps_all(rules)).select("place").collect()

    assert {row[0] for row in kept} == {
        place
        for place, (day, amount) in enumerate(zip(dates, amounts, strict=False))
        if is_read(business_date, day) and is_read(exact_amount, amount)
    }
