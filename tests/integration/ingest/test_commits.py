"""A run happens when its manifest is written, and never before or in part."""

from typing import Any

import psycopg
import pytest
from botocore.exceptions import ClientError

from pipeline.errors import InvalidInput, ObjectStoreUnavailable, RunConflict
from pipeline.manifest import Capture
from tests.integration.ingest.ingestion import Ingestion, captures


@pytest.fixture
def source(ingestion: Ingestion) -> Ingestion:
    """A source of two tables, of which nothing has been taken."""
    ingestion.execute(
        "create table a (id integer primary key)",
        "create table b (id integer primary key)",
        "insert into a values (1)",
        "insert into b values (1)",
    )
    return ingestion


def fail() -> None:
    raise psycopg.OperationalError("the network is gone")


@pytest.mark.parametrize("moment", ["raw/", "raw/b/", "runs/"])
def test_of_two_runs_at_once_one_commits_and_the_other_is_refused(
    source: Ingestion, moment: str
) -> None:
    with source.before_put(moment, source.run), pytest.raises(RunConflict, match="run 1"):
        source.run(run_id="another")

    assert [key for key in source.objects() if key.startswith("runs/")] == ["runs/0000000001.json"]
    assert source.taken("a") == source.taken("b") == [{"id": 1}]


@pytest.mark.parametrize("moment", ["raw/", "raw/b/", "runs/"])
@pytest.mark.parametrize("verify", [False, True])
def test_of_two_calls_of_one_execution_at_once_both_end_with_the_run_that_one_committed(
    source: Ingestion, moment: str, verify: bool
) -> None:
    with source.before_put(moment, lambda: source.run(verify=verify)):
        lost = source.run(verify=verify)
    again = source.run(verify=verify)

    assert (lost.complete, lost.committed) == (False, False)
    assert (again.complete, again.committed, again.sequence) == (True, False, 1)
    assert [key for key in source.objects() if key.startswith("runs/")] == ["runs/0000000001.json"]
    assert source.taken("a") == source.taken("b") == [{"id": 1}]


def test_a_run_that_lost_to_another_goes_on_from_there(source: Ingestion) -> None:
    with source.before_put("runs/", source.run), pytest.raises(RunConflict):
        source.run(run_id="another")
    source.execute("insert into a values (2)")

    result = source.run()

    assert result.sequence == 2
    assert captures(result) == {"a": (Capture.CHANGES, 1), "b": (Capture.NONE, 0)}


def test_changes_during_a_run_are_left_to_the_next(source: Ingestion) -> None:
    def order() -> None:
        source.execute("insert into a values (2)", "insert into b values (2)")

    with source.before_put("raw/a/", order):
        source.run()
    first = source.taken("a") + source.taken("b")

    source.run()

    assert first == [{"id": 1}, {"id": 1}]
    assert source.taken("a") == source.taken("b") == [{"id": 2}]


def test_a_run_that_dies_before_its_manifest_leaves_nothing_visible(source: Ingestion) -> None:
    with source.before_put("raw/b/", fail), pytest.raises(psycopg.OperationalError):
        source.run()

    (left_behind,) = source.objects()
    assert left_behind.startswith("raw/a/")


def test_files_of_a_run_that_died_are_neither_read_nor_overwritten(source: Ingestion) -> None:
    with source.before_put("raw/b/", fail), pytest.raises(psycopg.OperationalError):
        source.run()
    left_behind = source.objects()
    source.execute("update a set id = 2")

    source.run()

    assert left_behind.items() <= source.objects().items()
    assert source.taken("a") == [{"id": 2}]
    assert not set(source.manifest().tables["a"].files) & left_behind.keys()


def test_a_run_whose_manifest_is_not_taken_has_not_happened(source: Ingestion) -> None:
    def refuse(model: Any, params: dict[str, Any], **_: object) -> None:
        if "/runs/" in params["url_path"] or params["url"].endswith(".json"):
            raise ClientError({"Error": {"Code": "SlowDown"}}, "PutObject")

    source.client.meta.events.register("before-call.s3.PutObject", refuse)
    try:
        with pytest.raises(ObjectStoreUnavailable, match="runs/0000000001"):
            source.run()
    finally:
        source.client.meta.events.unregister("before-call.s3.PutObject", refuse)

    result = source.run()

    assert (result.sequence, result.committed) == (1, True)


def test_files_lie_under_their_table_and_day_and_carry_their_runs_number(
    source: Ingestion,
) -> None:
    source.run()

    manifest = source.manifest()
    year, month, day = manifest.snapshot_at[:10].split("-")
    assert manifest.tables["a"].files == (
        f"raw/a/year={year}/month={month}/day={day}/0000000001-0000.parquet",
    )


def test_a_full_refresh_of_an_unknown_table_is_refused_before_any_work(source: Ingestion) -> None:
    with pytest.raises(InvalidInput, match=r"names c, d, which the source does not have; .* a, b"):
        source.run(full_refresh=("d", "a", "c"))

    assert not source.objects()


def test_an_empty_source_is_no_run(ingestion: Ingestion) -> None:
    result = ingestion.run()

    assert (result.committed, result.sequence, result.tables) == (False, 0, ())


@pytest.mark.parametrize("readers", [1, 4])
def test_all_tables_of_a_run_are_one_instant_however_many_read(
    source: Ingestion, readers: int
) -> None:
    def transfer(_: psycopg.Connection) -> None:
        with source.connect() as connection:
            connection.execute("delete from a")
            connection.execute("insert into b values (2)")

    source.run(connect=source.at_snapshot(transfer), readers=readers)

    assert (source.taken("a"), source.taken("b")) == ([{"id": 1}], [{"id": 1}])
