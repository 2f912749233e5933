"""Source rows of which no fact can be made wait in the lake's quarantine, with the reason."""

import json
import logging
from typing import Any

import pytest

from glue_jobs.build import building, quarantine
from tests.integration.build.world import Business, Star

UNFIT = {
    "a date in words": ("payment_date", "next week"),
    "a date of another form": ("payment_date", "17/05/2024"),
    "a date without leading zeros": ("payment_date", "2024-5-7"),
    "a day that does not exist": ("payment_date", "2023-02-29"),
    "a year that does not exist": ("payment_date", "0000-01-01"),
    "a day before the calendar": ("payment_date", "1899-12-31"),
    "a day after the calendar": ("payment_date", "2200-01-01"),
    "the last day of all": ("payment_date", "9999-12-31"),
    "a date with a time": ("payment_date", "2024-05-17 00:00:00"),
    "a date and a new line": ("payment_date", "2024-05-17\n"),
    "a null date": ("payment_date", None),
    "an empty date": ("payment_date", ""),
    "too many decimal places": ("payment_amount", "0.00000000001"),
    "too many digits": ("payment_amount", "1" + "0" * 28),
    "no number": ("payment_amount", "NaN"),
}


@pytest.fixture
def unfit(business: Business) -> Business:
    """A business whose first payments have something unfit, each of another kind."""
    business.execute("alter table payment alter column payment_date drop not null")
    for key, (column, value) in enumerate(UNFIT.values(), start=1):
        statement = (
            "update payment set payment_date = %s where payment_id = %s"
            if column == "payment_date"
            else "update payment set payment_amount = %s where payment_id = %s"
        )
        business.execute(statement, value, key)
    return business


def test_unfit_rows_wait_with_their_reason_and_all_others_arrive(
    unfit: Business, star: Star
) -> None:
    unfit.run()

    star.build("fact_payment")

    held = {int(row["natural_key"]): row for row in star.rows("quarantine")}
    assert star.differences("fact_payment") == []
    assert sorted(held) == list(range(1, len(UNFIT) + 1))
    for key, (column, value) in enumerate(UNFIT.values(), start=1):
        assert held[key]["star_table"] == "fact_payment"
        assert held[key]["run_id"] == "run-1"
        assert {rule.split(" ")[0] for rule in held[key]["broken_rules"]} == {column}
        assert held[key]["reason"] is None
        assert json.loads(held[key]["source_row"])[column] == value


def test_the_jobs_output_says_how_many_rows_break_each_rule(
    unfit: Business, star: Star, caplog: pytest.LogCaptureFixture
) -> None:
    unfit.run()

    with caplog.at_level(logging.INFO, logger="glue_jobs"):
        star.build("fact_payment")

    said = [" ".join(line.split()) for line in caplog.messages]
    dates = sum(column == "payment_date" for column, _ in UNFIT.values())
    beyond = 4  # three dates, and a year that does not exist
    assert said[:-1] == [
        f"fact_payment {dates - 3} rows to quarantine: payment_date is a date, YYYY-MM-DD",
        f"fact_payment {beyond} rows to quarantine: "
        "payment_date is between 1900-01-01 and 2199-12-31",
        f"fact_payment {len(UNFIT) - dates} rows to quarantine: "
        "payment_amount has at most 28 digits before the point and 10 after it",
    ]
    assert said[-1].startswith(f"fact_payment {len(star.fact('fact_payment'))} rows ")


def test_corrected_rows_arrive(unfit: Business, star: Star) -> None:
    unfit.run()
    star.build("fact_payment")
    unfit.execute("update payment set payment_date = '2024-05-07', payment_amount = 1")
    unfit.run()

    star.build("fact_payment")

    assert len(star.history("fact_payment", 1)) == 1
    assert star.differences("fact_payment") == []


def test_a_row_that_becomes_unfit_shows_its_last_fit_version(
    business: Business, star: Star
) -> None:
    business.run()
    star.build("fact_sales_order")
    business.execute("update sales_order set agreed_payment_date = '' where sales_order_id = 1")
    business.run()

    assert star.build("fact_sales_order") == {"fact_sales_order": 0}
    assert [row["natural_key"] for row in star.rows("quarantine")] == ["1"]


def test_a_job_that_a_later_one_overtook_takes_none_of_its_rows_back(
    business: Business, star: Star, monkeypatch: pytest.MonkeyPatch
) -> None:
    business.run()
    star.build("fact_payment")
    for key in (1, 2):
        business.execute("update payment set payment_date = '' where payment_id = %s", key)
        business.run()
    original = quarantine.put_into_quarantine

    def overtaken(*arguments: Any, **named: Any) -> None:
        monkeypatch.setattr(building, "put_into_quarantine", original)
        star.build("fact_payment", through=3)
        original(*arguments, **named)

    monkeypatch.setattr(building, "put_into_quarantine", overtaken)
    star.build("fact_payment", through=2)

    held = sorted((row["natural_key"], row["run_id"]) for row in star.rows("quarantine"))
    assert held == [("1", "run-2"), ("2", "run-3")]


def test_the_widest_amounts_arrive_exactly(business: Business, star: Star) -> None:
    widest = f"-{'9' * 28}.{'9' * 10}"
    business.execute("update payment set payment_amount = %s where payment_id = 1", widest)
    business.execute("update payment set payment_amount = 1.50000000000000 where payment_id = 2")
    business.run()

    star.build("fact_payment")

    assert str(star.history("fact_payment", 1)[0]["payment_amount"]) == widest
    assert star.differences("fact_payment") == []
