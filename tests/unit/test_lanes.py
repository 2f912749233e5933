"""The suite fails where a lane fails, and both lanes together have every test."""

from types import SimpleNamespace

import pytest

from local.deployment import ROOT
from tests import __main__ as lanes


@pytest.mark.parametrize(
    ("codes", "is_covered", "result"),
    [
        ({"spark": 0, "others": 0}, True, 0),
        ({"spark": 1, "others": 0}, True, 1),
        ({"spark": 0, "others": 1}, True, 1),
        ({"spark": 0, "others": 3}, True, 1),
        ({"spark": 0, "others": 0}, False, 1),
    ],
)
def test_the_suite_fails_where_a_lane_or_the_coverage_fails(
    monkeypatch: pytest.MonkeyPatch, codes: dict[str, int], is_covered: bool, result: int
) -> None:
    monkeypatch.setattr(
        lanes, "_start", lambda lane, *_, **__: SimpleNamespace(wait=lambda: codes[lane])
    )
    monkeypatch.setattr(lanes, "_is_covered", lambda: is_covered)
    monkeypatch.setattr("local.spark_jars.fetch", lambda _folder: None)

    assert lanes.main([]) == result


def test_each_folder_of_tests_is_in_one_lane() -> None:
    of_spark = [ROOT / folder for folder in lanes.LANES["spark"]]
    assert all(folder.is_dir() for folder in of_spark)
    assert [f"--ignore={folder}" for folder in lanes.LANES["spark"]] == list(
        lanes.LANES["others"][1:]
    )
