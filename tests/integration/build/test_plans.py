"""The plan of a first build, which is the largest there is."""

from typing import Any

import pytest
from pyspark.sql import DataFrame

from glue_jobs.build import building
from glue_jobs.build.versions import new_versions
from tests.integration.build.world import STARS, Business, Star


def test_a_first_build_of_a_single_source_shuffles_once(
    business: Business,
    star: Star,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made: dict[str, DataFrame] = {}

    def keeping_the_versions(captured: DataFrame, *, key: str, **others: Any) -> DataFrame:
        made[key] = new_versions(captured, key=key, **others)
        return made[key]

    # dim_currency joins a view of the build's own.
    tables = [one.name for one in STARS.values() if len(one.sources) == 1]
    tables.remove("dim_currency")
    monkeypatch.setattr(building, "ROWS_OF_A_PARTITION", 2)
    monkeypatch.setattr(building, "new_versions", keeping_the_versions)
    business.run()
    star.build(*tables)

    assert len(made) == len(tables) >= 7
    for key, versions in made.items():
        capsys.readouterr()
        versions.explain()
        above, *below = capsys.readouterr().out.split("Exchange rangepartitioning")
        assert len(below) == 1, key
        assert "Exchange" not in above + below[0], key
