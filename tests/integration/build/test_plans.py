"""The plan of a first build, which is the largest there is."""

from typing import Any

import pytest
from py4j.java_gateway import JVMView
from pyspark.sql import DataFrame
from pyspark.sql import functions as f

from glue_jobs.build import building, key_ranges
from glue_jobs.build.lake import LakeTable
from glue_jobs.build.versions import new_versions
from tests.integration.build.world import STARS, Business, Star

# dim_currency joins a view of the build's own.
TABLES = [
    one.name for one in STARS.values() if len(one.sources) == 1 and one.name != "dim_currency"
]


def exchanges(rows: DataFrame) -> list[str]:
    """Returns the plan above each exchange, and the plan below the last one."""
    plan: str = rows._jdf.queryExecution().executedPlan().toString()
    return plan.split("Exchange ")


def test_a_first_build_of_a_single_source_shuffles_and_sorts_once(
    business: Business, star: Star, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[str, DataFrame] = {}
    replace = LakeTable.replace

    def keeping_the_rows(table: LakeTable, rows: DataFrame, *others: Any) -> int:
        written[table.name] = rows
        return replace(table, rows, *others)

    monkeypatch.setattr(building, "ROWS_OF_A_PARTITION", 2)
    monkeypatch.setattr(building, "TINY_ROWS", -1)
    monkeypatch.setattr(key_ranges, "ROWS_OF_A_RANGE", 3)
    monkeypatch.setattr(LakeTable, "replace", keeping_the_rows)
    business.run()
    star.build(*TABLES)

    assert written.keys() == set(TABLES)
    for name, rows in written.items():
        assert len(exchanges(rows)) == 2, name
        in_order = rows.sortWithinPartitions(STARS[name].natural_key)
        assert in_order._jdf.queryExecution().executedPlan().toString().count("Sort [") == 1, name
        # Iceberg's writer does not shuffle them again: it would make fewer files of them.
        filled = rows.select(f.spark_partition_id()).distinct().count()
        assert len(star.files(name)) == filled > 1, name
    assert star.differences(*TABLES) == []


def test_a_first_build_of_several_runs_shuffles_its_rows_once(
    business: Business, star: Star, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, DataFrame] = {}

    def keeping_the_versions(captured: DataFrame, *, key: str, **others: Any) -> DataFrame:
        made[key] = new_versions(captured, key=key, **others)
        return made[key]

    monkeypatch.setattr(building, "ROWS_OF_A_PARTITION", 2)
    monkeypatch.setattr(building, "TINY_ROWS", -1)
    monkeypatch.setattr(building, "new_versions", keeping_the_versions)
    business.run()
    business.execute("update payment set paid = not paid where payment_id = 1")
    business.run()
    star.build("fact_payment")

    assert sum(one.startswith("rangepartitioning") for one in exchanges(made["payment_id"])) == 1
    assert star.differences("fact_payment") == []


def test_a_build_asks_java_for_classes_by_their_full_names(
    business: Business, star: Star, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    look_up = JVMView.__getattr__

    def noting(view: JVMView, name: str) -> Any:
        asked.append(name)
        return look_up(view, name)

    business.run()
    monkeypatch.setattr(JVMView, "__getattr__", noting)
    star.build("dim_currency", "fact_payment")

    # PySpark asks for py4j where Java raises an error: here, for a table that is not there yet.
    assert {name for name in asked if "." not in name} <= {"py4j"}
    assert asked
