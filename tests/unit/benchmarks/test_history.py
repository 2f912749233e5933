"""The figures of a long history, beside those of a short one."""

import pytest

from benchmarks.history.__main__ import Step
from benchmarks.history.captures import Cost


def test_a_figure_of_the_end_is_a_multiple_of_that_of_the_start() -> None:
    assert Step("requests", before=20.0, after=22.0, limit=1.1).ratio == pytest.approx(1.1)
    assert Step("seconds of a load", before=None, after=22.0).ratio is None


def test_the_cost_of_runs_is_what_one_of_them_costs() -> None:
    costs = [Cost(requests=10, seconds=0.1), Cost(requests=20, seconds=0.2), Cost(12, 0.9)]

    assert Cost.of(costs) == Cost(requests=14, seconds=0.2)
