"""The suite fails where a lane fails, and both lanes together have every test."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from local.deployment import ROOT
from tests import __main__ as lanes
from tests.rights.replay import RECORDED


@pytest.mark.parametrize(
    ("codes", "is_covered", "are_made", "result"),
    [
        ({"spark": 0, "others": 0}, True, True, 0),
        ({"spark": 1, "others": 0}, True, True, 1),
        ({"spark": 0, "others": 1}, True, True, 1),
        ({"spark": 0, "others": 3}, True, True, 1),
        ({"spark": 0, "others": 0}, False, True, 1),
        ({"spark": 0, "others": 0}, True, False, 1),
    ],
)
def test_the_suite_fails_where_a_lane_or_the_coverage_or_a_recorded_call_fails(
    monkeypatch: pytest.MonkeyPatch,
    codes: dict[str, int],
    is_covered: bool,
    are_made: bool,
    result: int,
) -> None:
    monkeypatch.setattr(
        lanes, "_start", lambda lane, *_, **__: SimpleNamespace(wait=lambda: codes[lane])
    )
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


def test_each_folder_of_tests_is_in_one_lane() -> None:
    of_spark = [ROOT / folder for folder in lanes.LANES["spark"]]
    assert all(folder.is_dir() for folder in of_spark)
    assert [f"--ignore={folder}" for folder in lanes.LANES["spark"]] == list(
        lanes.LANES["others"][1:]
    )
