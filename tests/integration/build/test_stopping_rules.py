"""A rule that is declared to stop does so before its star table commits, and says why."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from glue_jobs.build import building, checking
from pipeline.errors import TableBuildFailed
from star_schema.rules import Rule
from star_schema.sources import SourceDeclaration, declared_source
from tests.integration.build.world import Business, Star

Declare = Callable[..., None]


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Declares the rules of a table that stop, in the place of those that its file has."""

    def put(table: str, **stopping: str) -> None:
        rules = tuple(Rule(name.replace("_", " "), stopping[name]) for name in stopping)

        def also_declared(asked: str) -> SourceDeclaration:
            source = declared_source(asked)
            if asked != table:
                return source
            return replace(source, rules=replace(source.rules, stopping=rules))

        monkeypatch.setattr(building, "declared_source", also_declared)

    return put


def test_a_source_row_that_breaks_it_stops_its_fact_and_no_other_table(
    business: Business, star: Star, declare: Declare
) -> None:
    declare("payment", amounts_are_positive="cast(payment_amount as decimal(38, 10)) > 0")
    business.run()
    star.build("fact_payment")
    before = star.files("fact_payment")
    business.execute("update payment set payment_amount = 0 where payment_id in (3, 5)")
    business.execute("update payment set payment_date = 'soon' where payment_id = 7")
    business.execute("update design set design_name = 'new' where design_id = 1")
    business.run()

    said = (
        "1 of 2 star tables were not built (fact_payment: QualityRuleBroken: 2 rows of payment "
        "break the rule 'amounts are positive', among them payment_id 3, 5: "
    )
    with pytest.raises(TableBuildFailed, match=re.escape(said)):
        star.build("fact_payment", "dim_design")

    assert star.files("fact_payment") == before
    assert star.rows("quarantine") == []
    assert star.differences("dim_design") == []


def test_once_corrected_the_build_goes_on_with_every_run(
    business: Business, star: Star, declare: Declare
) -> None:
    declare("payment", amounts_are_positive="cast(payment_amount as decimal(38, 10)) > 0")
    business.execute("update payment set payment_amount = 0 where payment_id = 3")
    business.run()
    with pytest.raises(TableBuildFailed, match="QualityRuleBroken"):
        star.build("fact_payment")
    declare("payment")

    star.build("fact_payment")

    assert star.differences("fact_payment") == []


def test_a_key_that_a_select_doubles_stops_its_table(
    business: Business, star: Star, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ingest does not take a table with a doubled key; a SELECT may double one by its join.
    monkeypatch.setattr("lambdas.ingest.planning.refuse_ambiguous_key", lambda *_: None)
    business.execute("alter table department drop constraint department_pkey cascade")
    business.execute(
        "insert into department overriding system value "
        "select * from department where department_id = 1"
    )
    business.capture()

    with pytest.raises(
        TableBuildFailed, match=r"rows of dim_staff break the rule 'staff_id is unique', among"
    ):
        star.build("dim_staff")

    assert star.rows("dim_staff") == []


def test_few_of_many_keys_are_named(business: Business, star: Star, declare: Declare) -> None:
    declare("payment", nothing_is_right="paid is null")
    business.run()

    with pytest.raises(TableBuildFailed) as raised:
        star.build("fact_payment")

    keys = str(raised.value).partition("among them payment_id ")[2].partition(":")[0]
    assert len(keys.split(", ")) == checking.SHOWN_KEYS


def test_a_null_that_the_warehouse_does_not_allow_waits_in_the_quarantine(
    business: Business, star: Star
) -> None:
    business.execute("alter table payment alter column currency_id drop not null")
    business.execute("update payment set currency_id = null where payment_id = 2")
    business.capture()

    star.build("fact_payment")

    (held,) = star.rows("quarantine")
    assert (held["natural_key"], held["broken_rules"]) == ("2", ["currency_id is given"])
    assert star.history("fact_payment", 2) == []


def test_a_rule_of_the_day_costs_its_fact_alone(
    business: Business, star: Star, declare: Declare
) -> None:
    declare("payment", it_is_due="cast(payment_date as date) >= current_date")
    business.run()

    with pytest.raises(
        TableBuildFailed, match=r"1 of 2 .*fact_payment: DeclarationInvalid: the ru"
    ):
        star.build("fact_payment", "dim_design")

    assert star.differences("dim_design") == []


def test_a_stopping_rule_of_a_run_lets_the_quarantine_take_other_rows(
    business: Business, star: Star, declare: Declare
) -> None:
    declare("payment", payments_are_one="count(*) over (partition by payment_id, _sequence) = 1")
    business.execute("update payment set payment_date = 'soon' where payment_id = 7")
    business.run()

    star.build("fact_payment", "dim_date")

    assert [row["natural_key"] for row in star.rows("quarantine")] == ["7"]
    assert star.differences("fact_payment") == []
