"""The calls of the whole suite are allowed and recorded."""

from pathlib import Path

import pytest

from local.cloud.calls import Call
from tests.oracle.history import HistoryOracle
from tests.rights.deployed import EVERYTHING, DeployedTemplate
from tests.rights.replay import RECORDED, calls_of, denials, use


@pytest.fixture
def seen(history: HistoryOracle, recorded_calls: Path) -> list[Call]:
    """The distinct calls of the stack's roles so far."""
    return calls_of(recorded_calls)


def test_every_call_of_the_suite_is_allowed(seen: list[Call]) -> None:
    assert {call.role for call in seen} >= {"IngestRole", "LoadRole", "BuildFactsRole"}
    assert denials(seen, DeployedTemplate(EVERYTHING)) == []


def test_every_use_of_a_grant_is_recorded(seen: list[Call]) -> None:
    recorded = {use(call) for call in calls_of(RECORDED)}

    assert sorted({use(call) for call in seen} - recorded) == [], "run `make record-calls`"
