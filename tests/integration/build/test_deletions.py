"""Deletions are told from each key's next look, and are those that all looks tell."""

import random

import pytest
from pyspark.sql import SparkSession

from glue_jobs.build.versions import new_versions, touched_keys
from tests.integration.build.world import frame

KEYS, RUNS = 300, 12
SWEPT = (2, 3, 5, 9, 11)

History = dict[int, str]
"""The content of a key in each run that captured it."""
Version = tuple[int, str, bool, int]


def drawn(draw: random.Random) -> tuple[dict[int, History], dict[int, set[int]]]:
    """Returns what runs captured of each key, and which sweeps found it: any of both."""
    captured = {
        key: {run: draw.choice("ab") for run in range(1, RUNS + 1) if draw.random() < 0.25}
        for key in range(KEYS)
    }
    found = {key: {run for run in SWEPT if draw.random() < 0.5} for key in range(KEYS)}
    return captured, found


def versions_by_all_looks(
    key: int, captured: History, found: set[int], known: tuple[str, bool] | None
) -> list[Version]:
    """Returns a key's new versions: the model that looks at every sweep."""
    content, is_deleted = known or (None, True)
    versions: list[Version] = []
    for run in range(1, RUNS + 1):
        if run in captured and (content, is_deleted) != (captured[run], False):
            content, is_deleted = captured[run], False
            versions.append((key, content, False, run))
        if run in SWEPT and run not in found and content is not None and not is_deleted:
            is_deleted = True
            versions.append((key, content, True, run))
    return versions


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("in_one_partition", [True, False])
def test_deletions_are_those_that_all_looks_tell(
    spark: SparkSession, is_first: bool, in_one_partition: bool
) -> None:
    draw = random.Random(is_first)
    captured, found = drawn(draw)
    known = (
        {}
        if is_first
        else {key: (draw.choice("ab"), draw.random() < 0.3) for key in range(0, KEYS, 2)}
    )

    versions = new_versions(
        frame(
            spark,
            [(key, text, run) for key, runs in captured.items() for run, text in runs.items()],
            "order_id int, content string, _sequence bigint",
        ),
        key="order_id",
        known=None
        if is_first
        else frame(
            spark,
            [(key, *state) for key, state in known.items()],
            "order_id int, content string, is_deleted boolean",
        ),
        present=frame(
            spark,
            [(key, run) for key, runs in found.items() for run in runs],
            "key bigint, _sequence bigint",
        ),
        swept=SWEPT,
        in_one_partition=in_one_partition,
    )

    wanted = [
        version
        for key in range(KEYS)
        for version in versions_by_all_looks(key, captured[key], found[key], known.get(key))
    ]
    assert sorted(tuple(row) for row in versions.collect()) == sorted(wanted)
    assert sum(is_deleted for _, _, is_deleted, _ in wanted) > KEYS / 10


def test_a_key_is_touched_if_any_sweep_misses_it(spark: SparkSession) -> None:
    found = {1: {3, 5}, 2: {3}, 3: {5}, 4: set[int]()}

    keys = touched_keys(
        frame(spark, [(9,)], "order_id int"),
        key="order_id",
        shown=frame(spark, [(key,) for key in found], "order_id int"),
        present=frame(
            spark,
            [(key, run) for key, runs in found.items() for run in runs],
            "key int, _sequence bigint",
        ),
        swept=(5, 3),
    )

    assert sorted(row.order_id for row in keys.collect()) == [2, 3, 4, 9]


def test_many_sweeps_multiply_no_rows(spark: SparkSession) -> None:
    """The number of looks is that of the keys that sweeps found."""
    sweeps = range(1, 2001)
    versions = new_versions(
        frame(
            spark,
            [(key, "a", 1) for key in range(50)],
            "order_id int, content string, _sequence bigint",
        ),
        key="order_id",
        known=None,
        present=frame(spark, [(7, 1), (7, 2)], "key int, _sequence bigint"),
        swept=sweeps,
    )

    plan = versions._jdf.queryExecution().executedPlan().toString()

    assert "explode" not in plan.lower()
    assert sorted((row.order_id, row._sequence) for row in versions.where("is_deleted").collect())[
        6:9
    ] == [(6, 1), (7, 3), (8, 1)]
