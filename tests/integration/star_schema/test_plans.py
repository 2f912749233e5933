"""The plan of a first build, which is the largest there is."""

from typing import Any

import pytest
from pyspark.sql import DataFrame

from glue_jobs.star_schema import build
from glue_jobs.star_schema.versions import new_versions
from star_schema.tables import star_tables
from tests.integration.star_schema.world import Business, Star


def test_a_first_build_shuffles_once_and_looks_for_ranges_before_its_select(
    business: Business,
    star: Star,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made: dict[str, DataFrame] = {}

    def keeping_the_versions(captured: DataFrame, *, key: str, **others: Any) -> DataFrame:
        made[key] = new_versions(captured, key=key, **others)
        return made[key]

    keys = {table.name: table.key_source for table in star_tables() if table.key_source}
    monkeypatch.setattr(build, "ROWS_OF_A_PARTITION", 2)
    monkeypatch.setattr(build, "new_versions", keeping_the_versions)
    business.run()
    star.build(*keys)

    assert len(made) == len(keys) >= 7
    for key, versions in made.items():
        capsys.readouterr()
        versions.explain()
        above, *below = capsys.readouterr().out.split("Exchange rangepartitioning")
        assert len(below) == 1, key
        assert "Exchange" not in above, key
        assert "date_format" not in below[0], key
