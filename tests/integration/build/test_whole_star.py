"""Two runs of a business and all of its star: however it is built, it is what the oracle says."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from local.source.activity import run_activity
from tests.integration.build.world import STARS, Business, Star


@dataclass(frozen=True)
class Built:
    """A business of two runs, and its star.

    Attributes:
        business: The business.
        star: Its star schema, built run by run.
        after_first_run: How it differed from what it had to be, after the first run.
    """

    business: Business
    star: Star
    after_first_run: list[str]


@pytest.fixture(scope="module")
def built(new_business: Callable[[], Business], new_star: Callable[[Business], Star]) -> Built:
    business = new_business()
    star = new_star(business)
    business.run()
    star.build(*STARS)
    after_first_run = star.differences(*STARS)
    run_activity(business.dsn)
    business.run()
    star.build(*STARS)
    return Built(business, star, after_first_run)


def test_the_first_build_has_every_row_of_every_table(built: Built) -> None:
    assert built.after_first_run == []


def test_the_next_build_adds_what_its_run_brought(built: Built) -> None:
    assert built.star.differences(*STARS) == []


def test_runs_that_are_built_at_once_give_the_same_rows_and_record_ids(
    built: Built, new_star: Callable[[Business], Star]
) -> None:
    changed_twice = ("fact_payment", "fact_sales_order", "dim_counterparty", "dim_date")
    at_once = new_star(built.business)

    at_once.build(*changed_twice)

    assert at_once.differences(*changed_twice) == []


def test_a_rebuild_gives_the_same_rows_and_record_ids(built: Built) -> None:
    tables = ("fact_payment", "dim_staff", "dim_date")

    rows = built.star.build(*tables, rebuild=True)

    assert rows["fact_payment"] == len(built.business.oracle.facts["fact_payment"])
    assert built.star.differences(*tables) == []
