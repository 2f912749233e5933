"""The suite fails where a lane fails, and the lanes together have every test once."""

from pathlib import Path
from unittest.mock import Mock

import pytest

from local.deployment import ROOT
from tests import __main__ as lanes
from tests.__main__ import Lane
from tests.fixtures import tracing
from tests.rights.replay import RECORDED


@pytest.mark.parametrize(
    ("codes", "is_covered", "are_made", "result"),
    [
        ({}, True, True, 0),
        *(({lane: 1}, True, True, 1) for lane in lanes.LANES),
        ({"others": 3}, True, True, 1),
        ({}, False, True, 1),
        ({}, True, False, 1),
    ],
)
def test_the_suite_fails_where_a_lane_or_the_coverage_or_a_recorded_call_fails(
    monkeypatch: pytest.MonkeyPatch,
    codes: dict[str, int],
    is_covered: bool,
    are_made: bool,
    result: int,
) -> None:
    monkeypatch.setattr(lanes, "_run", lambda lane, *_: Lane(lane, codes.get(lane, 0), ""))
    monkeypatch.setattr(lanes, "_is_covered", lambda: is_covered)
    monkeypatch.setattr(lanes, "_are_made", lambda _calls: are_made)
    monkeypatch.setattr("local.spark_jars.fetch", lambda _folder: None)
    monkeypatch.setattr("local.browser.install", lambda: None)

    assert lanes.main([]) == result


def test_a_recorded_call_that_is_no_longer_made_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "calls.jsonl"
    made.write_text(RECORDED.read_text())
    assert lanes._are_made(made)

    kept = [line for line in made.read_text().splitlines(True) if "PublishVersion" not in line]
    made.write_text("".join(kept))

    assert not lanes._are_made(made)
    assert "('GlueCodeRole', 'lambda:PublishVersion', 'IngestFunction')" in capsys.readouterr().out


def test_the_last_line_counts_the_tests_of_all_lanes() -> None:
    ended = [
        Lane("build", 0, "12 passed in a test's words\n=== 1 failed, 3 passed in 7.12s ===\n"),
        Lane("load", 0, "== 40 passed, 2 skipped, 1 error in 61.00s (0:01:01) ==\n"),
        Lane("others", 5, "== no tests ran in 0.01s ==\n"),
    ]
    line = lanes.summary(ended, 61.25)

    assert line.strip("= ") == "1 failed, 43 passed, 2 skipped, 1 error in 61.25s (0:01:01)"
    assert lanes.summary(ended[2:], 0.5).strip("= ") == "no tests ran in 0.50s (0:00:00)"


def test_each_folder_of_tests_is_in_one_lane() -> None:
    own = [folder for lane, (folder, *_) in lanes.LANES.items() if lane != "others"]
    assert all((ROOT / folder).is_dir() for folder in own)
    assert lanes.LANES["others"] == ("tests", *(f"--ignore={folder}" for folder in own))
    assert lanes.LANES["build"][1:] == (f"--ignore={lanes.LANES['histories'][0]}",)


@pytest.mark.parametrize(("calls_only", "traced"), [("1", [0, 6, 7]), ("", [*range(8)])])
def test_a_lane_of_calls_traces_one_case_in_six(
    monkeypatch: pytest.MonkeyPatch, calls_only: str, traced: list[int]
) -> None:
    monkeypatch.setenv(tracing.CALLS_ONLY, calls_only)
    cases = [f"test_load.py::test_of_seven[{number}]" for number in range(7)]
    items = [Mock(pytest.Item, nodeid=case) for case in (*cases, "test_load.py::test_alone")]

    tracing.pytest_collection_modifyitems(list[pytest.Item](items))

    assert [number for number, item in enumerate(items) if not item.add_marker.called] == traced
