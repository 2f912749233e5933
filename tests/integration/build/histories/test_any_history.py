"""Any short history is, at every point, what the oracle says; bugs are found by the same look."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame
from pyspark.sql import functions as f

from glue_jobs.build import building, key_ranges, lake, numbering, raw_files, reading, versions
from glue_jobs.build.lake import LakeTable
from pipeline.applied_run import AppliedRun
from pipeline.manifest import ManifestStore
from pipeline.pending import Pending, pending
from star_schema.tables import StarTable
from tests.integration.build.histories.history import Build, Day, histories, play
from tests.integration.build.world import STARS, Business, Star, Warehouse

OF_EVERY_KIND = [
    Day(
        payments=["one", "one", "one", "one", "malformed", "leave"],
        designs=["one", "one"],
    ),
    Day(
        payments=["two", "same", "delete", "touch", "one", "two"],
        designs=["two", "delete"],
        department="one",
        builds=(),
    ),
    Day(
        payments=["one", "same", "one", "renew", "delete", "malformed"],
        designs=["one", "one"],
        builds=(Build(crash_at=1, is_committed=True), Build(others="roll back")),
    ),
    Day(
        payments=["leave", "same", "leave", "touch", "one", "one"],
        designs=["leave", "delete"],
        moved=2,
    ),
]
"""A -> B -> A, a key that is used again, rows corrected, and two runs in one build."""
SIZES = ("small", "large")
TABLES = ("fact_payment", "dim_design", "dim_staff")


@contextmanager
def of_size(size: str) -> Iterator[None]:
    """Has the build take tables and runs for the small ones that they are, or for large ones."""
    if size == "small":
        with patch.object(lake, "TINY_TABLE_ROWS", 0):
            yield
    else:
        with (
            patch.object(lake, "SMALL_TABLE_ROWS", 0),
            patch.object(lake, "MOST_DELETED", 0.5),
            patch.object(reading, "FEW_VERSIONS", 0),
            patch.object(reading, "MOST_LOOKED_AT", 1),
            patch.object(lake, "MOST_KEYS_LISTED", 2),
            patch.object(key_ranges, "MOST_KEYS_LISTED", 2),
            patch.object(key_ranges, "RANGES", 2),
            patch.object(key_ranges, "NEAR", 1),
            patch.object(key_ranges, "_NEAR_BITS", 0),
            patch.object(key_ranges, "_MOST_MAP_BITS", 7),
            patch.object(key_ranges, "ROWS_OF_A_RANGE", 5),
            patch.object(key_ranges, "MOST_RANGES", 3),
            patch.object(key_ranges, "_BUCKET_BITS", 3),
            patch.object(building, "ROWS_OF_A_PARTITION", 2),
            patch.object(building, "MOST_PARTITIONS", 4),
            patch.object(building, "TINY_ROWS", -1),
            patch.object(raw_files, "MANY_FILES", 2),
            patch.object(raw_files, "MOST_BYTES_KEPT", 0),
        ):
            yield


# An example takes seconds: what fails is shown as it was drawn, not shrunk.
@settings(
    max_examples=2,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(history=histories(), size=st.sampled_from(SIZES))
def test_any_history_is_at_every_point_what_the_oracle_says(
    history: list[Day],
    size: str,
    new_business: Callable[[], Business],
    new_star: Callable[[Business], Star],
    new_warehouse: Callable[[Star, Business], Warehouse],
) -> None:
    business = new_business()
    star = new_star(business)
    warehouse = new_warehouse(star, business)

    with of_size(size):
        assert next(play(history, business, star, warehouse, STARS), None) is None


@pytest.mark.parametrize("size", SIZES)
def test_a_history_of_every_kind_of_change_is_what_the_oracle_says(
    business: Business, star: Star, size: str
) -> None:
    with of_size(size):
        assert next(play(OF_EVERY_KIND, business, star, None, TABLES), None) is None


def keep_versions_that_do_not_differ(states: DataFrame) -> DataFrame:
    return states.where("_sequence > 0 and _content is not null")


def place_by_key_before_run(frame: DataFrame, *, key: str, of_one_run: bool) -> DataFrame:
    return IN_PLACES(frame, key=key, of_one_run=True)


def number_from_one_again(table: LakeTable, column: str) -> int:
    return 0


def miss_nothing(events: DataFrame) -> DataFrame:
    return MISSED(events).withColumn("_missed", f.lit(None).cast("bigint"))


def look_at_the_first_source(
    store: ManifestStore, star: StarTable, *, after: int, through: int
) -> Pending:
    todo = pending(store, star, after=after, through=through)
    runs = {run.sequence: run for run in todo.captures[star.sources[0]]}
    return replace(todo, runs=dict(sorted(runs.items())))


def apply_runs_again(table: LakeTable) -> AppliedRun:
    applied = READ_APPLIED(table)
    return replace(applied, through=min(applied.through, 1))


IN_PLACES = numbering.in_places
MISSED = versions._missed
READ_APPLIED = LakeTable.read_applied


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("table", "place", "name", "bug"),
    [
        pytest.param(
            "fact_payment",
            versions,
            "_changes",
            keep_versions_that_do_not_differ,
            id="deduplication",
        ),
        pytest.param(
            "fact_payment", numbering, "in_places", place_by_key_before_run, id="numbering by run"
        ),
        pytest.param(
            "fact_payment", LakeTable, "greatest", number_from_one_again, id="numbering goes on"
        ),
        pytest.param("fact_payment", versions, "_missed", miss_nothing, id="delete detection"),
        pytest.param(
            "dim_staff", building, "pending", look_at_the_first_source, id="joined refresh"
        ),
        pytest.param(
            "fact_payment", LakeTable, "read_applied", apply_runs_again, id="exactly once"
        ),
    ],
)
def test_a_planted_bug_is_found(
    business: Business, star: Star, table: str, place: object, name: str, bug: Callable[..., Any]
) -> None:
    with patch.object(place, name, bug):
        assert next(play(OF_EVERY_KIND, business, star, None, [table]), None) is not None
