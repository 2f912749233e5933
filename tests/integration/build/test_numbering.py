"""Versions are numbered in the order of runs and keys, by as many tasks as there are."""

import random
from collections import Counter

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from glue_jobs.build import key_ranges
from glue_jobs.build.key_ranges import KeyRanges
from glue_jobs.build.numbering import in_places, numbered, numbered_in_ranges
from glue_jobs.build.versions import new_versions, only_versions
from tests.integration.build.world import frame

KEYS = 500
PARTITIONS = 7


@pytest.fixture
def many_tasks(spark: SparkSession) -> SparkSession:
    """A session that leaves even a few rows in many partitions."""
    session = spark.newSession()
    session.conf.set("spark.sql.adaptive.coalescePartitions.enabled", "false")
    session.conf.set("spark.sql.shuffle.partitions", str(PARTITIONS))
    return session


def captured(session: SparkSession, runs: int) -> DataFrame:
    """Returns what runs captured of keys: in no order, and in most runs not of every key."""
    draw = random.Random(runs)
    rows = [
        (key, draw.choice("ab"), run)
        for key in draw.sample(range(-KEYS, KEYS), KEYS)
        for run in range(1, runs + 1)
        if runs == 1 or draw.random() < 0.7
    ]
    draw.shuffle(rows)
    return frame(session, rows, "order_id int, content string, _sequence bigint")


def present(session: SparkSession, runs: int) -> DataFrame:
    """Returns the keys that each run found: some of the captured ones had gone."""
    draw = random.Random(-runs)
    keys = [(key, run) for key in range(-KEYS, KEYS) for run in range(1, runs + 1)]
    return frame(
        session, [pair for pair in keys if draw.random() < 0.8], "key int, _sequence bigint"
    )


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("swept", [False, True])
def test_numbers_follow_run_key_and_deletion_without_a_gap(
    many_tasks: SparkSession, runs: int, swept: bool
) -> None:
    versions = new_versions(
        captured(many_tasks, runs),
        key="order_id",
        known=None,
        present=present(many_tasks, runs) if swept else None,
        swept=range(1, runs + 1),
    )

    rows = numbered(versions, key="order_id", name="record_id", start=1000, of_one_run=runs == 1)
    numbers = sorted(
        (row.record_id, row._sequence, row.order_id, row.is_deleted) for row in rows.collect()
    )

    in_order = sorted((row._sequence, row.order_id, row.is_deleted) for row in versions.collect())
    assert any(is_deleted for *_, is_deleted in in_order) == swept
    assert numbers == [(1001 + place, *version) for place, version in enumerate(in_order)]


def test_numbering_moves_no_rows_into_one_partition(many_tasks: SparkSession) -> None:
    versions = new_versions(
        captured(many_tasks, 3), key="order_id", known=None, present=None, swept=()
    )

    rows = numbered(versions, key="order_id", name="record_id", start=0, of_one_run=False)
    partitions = rows.select(f.spark_partition_id()).distinct().count()

    assert partitions == PARTITIONS


def test_history_and_numbers_of_one_run_cost_one_shuffle_and_one_sort(
    many_tasks: SparkSession,
) -> None:
    versions = new_versions(
        captured(many_tasks, 1), key="order_id", known=None, present=None, swept=()
    )

    rows = in_places(versions, key="order_id", of_one_run=True)

    plan = rows._jdf.queryExecution().executedPlan().toString()
    assert plan.count("Exchange rangepartitioning") == 1
    assert "hashpartitioning" not in plan
    assert plan.count(" Sort [") == 1


def test_no_versions_are_no_rows(many_tasks: SparkSession) -> None:
    versions = new_versions(
        captured(many_tasks, 1).where("false"), key="order_id", known=None, present=None, swept=()
    )

    rows = numbered(versions, key="order_id", name="record_id", start=0, of_one_run=True)

    assert rows.collect() == []


def test_a_first_run_is_numbered_in_one_pass_over_one_shuffle(
    many_tasks: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_ranges, "ROWS_OF_A_RANGE", KEYS // 20)
    rows = captured(many_tasks, 1)
    ranges = KeyRanges.of(rows, "order_id")
    assert ranges is not None
    versions = only_versions(rows, key="order_id", ranges=ranges)

    numbered_rows = numbered_in_ranges(versions, name="record_id", ranges=ranges)

    found = sorted((row.record_id, row.order_id, row.content) for row in numbered_rows.collect())
    in_order = sorted((row.order_id, row.content) for row in rows.collect())
    assert found == [(place, *row) for place, row in enumerate(in_order, start=1)]
    assert numbered_rows.select(f.spark_partition_id()).distinct().count() == ranges.count > 9
    plan = numbered_rows.sort("order_id")._jdf.queryExecution().executedPlan().toString()
    assert "REPARTITION_BY_NUM" in plan  # which adaptive execution leaves as it is


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [7],
        [7, 7, 7],
        [None],
        [1, 2, 3],
        [5, None, 1],
        [-(2**63), -1, 0, 2**62, 2**63 - 1],
        [*range(-9_000, 9_000, 3)],
    ],
)
def test_ranges_hold_whatever_keys_there_are(
    many_tasks: SparkSession, monkeypatch: pytest.MonkeyPatch, keys: list[int | None]
) -> None:
    monkeypatch.setattr(key_ranges, "ROWS_OF_A_RANGE", 1_000)
    rows = frame(many_tasks, [(key,) for key in keys], "k bigint")

    ranges = KeyRanges.of(rows, "k")

    assert ranges is not None
    assert ranges.ends == tuple(sorted(set(ranges.ends)))
    found = Counter(row[0] for row in rows.select(ranges.number()).collect())
    assert tuple(found[place] for place in range(ranges.count)) == ranges.counts
    assert max(ranges.counts) <= 1_010


def test_keys_without_ranges_of_about_equal_size_have_none(
    many_tasks: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_texts = frame(many_tasks, [("a",)], "k string")
    monkeypatch.setattr(key_ranges, "ROWS_OF_A_RANGE", 1)
    crowded = frame(
        many_tasks, [(key,) for key in (*range(90), *range(2**40, 2**50, 2**48))], "k bigint"
    )

    assert KeyRanges.of(of_texts, "k") is None
    assert KeyRanges.of(crowded, "k") is None
