"""What an execution says of itself."""

import dataclasses
from datetime import UTC, datetime

import pytest

from lambdas.publish.message import message_of
from lambdas.publish.observing import Observation, age, as_report, figures_of
from pipeline.answers import IngestAnswer, LoadAnswer, Names
from pipeline.costs import Cost, StageCost
from pipeline.freshness import Freshness
from pipeline.requests import PublishRequest

INGESTED = IngestAnswer(True, 7, True, 12_345, 1.5, 8192, 0.25, 11)
LOADED = LoadAnswer(True, 7, 7, 4_321)
REQUEST = PublishRequest("run-7", "arn", INGESTED, LOADED, through=7, publishes=True)
COST = Cost(
    0.03127, (StageCost("Ingest", {"lambda_request": 1}, 0.03127),), "eu", "2026-10-01", True
)
OBSERVED = Observation(Freshness(datetime(2026, 1, 31, 9, 30, tzinfo=UTC), 75.0), COST)


def test_a_load_is_told_with_its_rows_its_freshness_and_its_cost() -> None:
    assert message_of(REQUEST, OBSERVED) == (
        "Run 7: 12,345 rows captured, 4,321 written to the warehouse; "
        "data as of 2026-01-31 09:30:00 UTC, 1 min 15 s old; estimated cost $0.0313."
    )


def test_nothing_new_is_told_with_its_freshness() -> None:
    request = PublishRequest("run-8", "arn", INGESTED, through=7)

    assert message_of(request, OBSERVED).startswith(
        "Nothing new since run 7; data as of 2026-01-31"
    )


def test_what_somebody_should_know_is_told() -> None:
    warned = dataclasses.replace(INGESTED, warnings=Names.of(["a is new", "b is gone"]))
    loaded = dataclasses.replace(LOADED, facts_waiting=3, rows_quarantined=2, tables_verified=11)
    request = dataclasses.replace(REQUEST, ingested=warned, loaded=loaded)

    message = message_of(request, Observation(problems=["cost is not known: no route"]))

    assert "3 facts wait for their dimension rows; 2 source rows broke a rule; " in message
    assert "the warehouse equals the source; cost is not known: no route. " in message
    assert message.endswith("Warnings: a is new; b is gone.")


@pytest.mark.parametrize("count", [20, 21])
def test_the_message_says_how_many_warnings_there_are_where_it_does_not_list_them(
    count: int,
) -> None:
    warned = Names.of(f"table t{number} is new" for number in range(count))
    request = dataclasses.replace(REQUEST, ingested=dataclasses.replace(INGESTED, warnings=warned))

    message = message_of(request, Observation())

    assert "table t19 is new" in message
    assert message.endswith("; 21 in all.") == (count > 20)


def test_figures_that_are_not_known_are_none_and_not_zero() -> None:
    assert figures_of(Observation()) == {
        "data_as_of": "",
        "freshness_seconds": None,
        "cost_usd": None,
    }
    assert figures_of(OBSERVED) == {
        "data_as_of": "2026-01-31T09:30:00+00:00",
        "freshness_seconds": 75.0,
        "cost_usd": 0.03127,
    }
    assert as_report(OBSERVED)["cost"]["is_estimate"] is True
    assert as_report(Observation())["cost"] is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (61.0, "1 min 1 s"), (3_725.0, "1 h 2 min")],
)
def test_an_age_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert age(seconds) == text
