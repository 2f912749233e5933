"""Spark decides the common rules as the oracle does."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from glue_jobs.build.checking import fit
from glue_jobs.build.rule_checks import check_rules
from glue_jobs.build.spark_sql import constant_rows
from pipeline.errors import DeclarationInvalid
from star_schema.rules import Rule, Rules
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
    kept = fit(frame, rules).select("place").collect()

    assert {row[0] for row in kept} == {
        place
        for place, (day, amount) in enumerate(zip(dates, amounts, strict=False))
        if is_read(business_date, day) and is_read(exact_amount, amount)
    }


ROWS = "payment_id int, due string, _sequence bigint"
OF_THE_RUN = "count(*) over (partition by due, _sequence) = 1"


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("cast(due as date) > current_date", "a function whose result differs"),
        ("due < now()", "a function whose result differs"),
        ("due < localtimestamp()", "a function whose result differs"),
        ("rand() < 0.5", "a function whose result differs"),
        ("due <> uuid()", "a function whose result differs"),
        ("due <> current_user()", "a function whose result differs"),
        ("cast(due as timestamp) < 'now'", "a function whose result differs"),
        ("cast(due as date) < date 'today'", "a function whose result differs"),
        ("due <> version()", "a function whose result differs"),
        ("max(now()) over (partition by due, _sequence) > due", "a function whose result differs"),
        ("payment_id in (select 1)", "a subquery"),
        ("exists (select 1 where rand() > 0.5)", "a function whose result differs"),
        ("exists (select 1 where 1 > payment_id)", "a subquery"),
        ("payment_id = (select max(1))", "a subquery"),
        ("count(*) over (partition by due) = 1", "a window of several runs"),
        ("count(*) over (partition by _sequence + 1) = 1", "a window of several runs"),
        ("lag(due) over (order by _sequence) < due", "a window of several runs"),
    ],
)
@pytest.mark.parametrize("stops", [True, False])
def test_a_rule_whose_verdict_depends_on_more_than_the_row_is_refused(
    spark: SparkSession, condition: str, found: str, *, stops: bool
) -> None:
    rows = constant_rows(spark.newSession(), [], ROWS)
    rules = (Rule("it is well", "due is not null"), Rule("it is good", condition))
    declared = Rules(stopping=rules) if stops else Rules(quarantining=rules)
    said = "a window function, which stopping" if "a window" in found and not stops else found

    with pytest.raises(
        DeclarationInvalid,
        match=rf"the rule 'it is good' of star_schema/definitions/sources/x\.toml has {said}",
    ):
        check_rules(rows, declared, file="sources/x")


def test_a_rule_of_the_row_or_of_its_run_is_taken(spark: SparkSession) -> None:
    rows = constant_rows(spark.newSession(), [], ROWS)
    of_row = Rule("it is a date", "try_cast(due as date) > date'1900-01-01'")

    check_rules(rows, Rules((of_row,), (Rule("it is one", OF_THE_RUN),)), file="sources/x")
    with pytest.raises(DeclarationInvalid, match="which stopping rules alone may have"):
        check_rules(rows, Rules((Rule("it is one", OF_THE_RUN), of_row)), file="sources/x")


def test_rows_are_kept_by_a_rule_of_their_run(spark: SparkSession) -> None:
    given = [("a", 1), ("a", 1), ("a", 2), ("b", 2)]
    rows = constant_rows(
        spark.newSession(),
        ({"payment_id": 1, "due": due, "_sequence": run} for due, run in given),
        ROWS,
    )

    kept = fit(rows, [Rule("it is one", OF_THE_RUN)])

    assert kept.columns == rows.columns
    assert sorted((row.due, row._sequence) for row in kept.collect()) == [("a", 2), ("b", 2)]
