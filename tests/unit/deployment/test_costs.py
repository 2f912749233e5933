"""The estimated costs that docs/deploy.md shows."""

import pytest

from deployment import costs
from pipeline.prices import prices
from tests.template import ROOT
from tests.unit.template.resources import FUNCTION, JOB, RESOURCES, of_type


def test_the_page_shows_what_the_price_file_gives():
    page = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    assert costs.tables() in page, "run `python -m deployment.costs`"


def test_the_estimate_has_the_template_s_sizes():
    for name, memory in costs.FUNCTION_MB.items():
        assert of_type(FUNCTION)[f"{name}Function"]["MemorySize"] == memory
    alarms = [one for one in RESOURCES.values() if one["Type"] == "AWS::CloudWatch::Alarm"]
    assert len(alarms) == costs.ALARMS
    for job in of_type(JOB).values():
        assert job["NumberOfWorkers"] == {"Ref": "NumberOfWorkers"}
        assert job["WorkerType"] == {"Ref": "WorkerType"}


def test_every_usage_has_a_price():
    for usage in (costs.RUN, costs.NOTHING_NEW, costs.STANDING, *costs.BESIDE.values()):
        assert prices().usd(usage) > 0


@pytest.mark.parametrize("minutes", [3, 15, 60])
def test_a_month_costs_more_the_more_often_something_changes(minutes):
    assert costs.month(minutes, 0) < costs.month(minutes, 220) < costs.month(minutes, 730)
    per_start = costs.month(minutes, 730) - prices().usd(costs.STANDING)
    assert per_start == pytest.approx(730 * 60 / minutes * prices().usd(costs.RUN))
