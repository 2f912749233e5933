"""The price file, and what a usage costs by it."""

from datetime import date

import pytest

from pipeline.prices import glue_dpu_hours, lambda_gb_seconds, prices


def test_every_price_has_an_amount_a_unit_a_page_of_aws_and_a_date():
    for name, price in prices().by_name.items():
        assert price.usd > 0, name
        assert price.unit, name
        assert price.usage, name
        assert price.source.startswith("https://aws.amazon.com/"), name
        assert isinstance(price.read, date), name
        assert isinstance(price.confirmed, bool), name


def test_the_prices_name_their_region():
    assert prices().region == "eu-west-2"
    assert all(
        price.usage.startswith(("EUW2-", "eu-west-2-")) for price in prices().by_name.values()
    )


def test_a_job_run_is_billed_for_a_minute_at_least():
    assert glue_dpu_hours(2, 20) == glue_dpu_hours(2, 60) == pytest.approx(2 / 60)
    assert glue_dpu_hours(2, 90) == pytest.approx(2 * 90 / 3600)


def test_a_function_is_billed_by_its_memory():
    assert lambda_gb_seconds(2048, 10) == pytest.approx(20)


def test_the_cost_of_a_usage_is_the_sum_of_its_units():
    usage = {"lambda_gb_second": 1_000_000, "glue_dpu_hour": 2, "states_transition": 1000}

    assert prices().usd(usage) == pytest.approx(13.3334 + 0.616 + 0.025)


def test_a_usage_that_no_price_has_is_refused():
    with pytest.raises(KeyError, match="glue_dpu_second"):
        prices().usd({"glue_dpu_second": 1})
