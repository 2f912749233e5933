"""Which star tables have runs to apply: the lake's metadata and the manifests decide."""

import gzip
import json
from typing import Any

import boto3
import pytest

from lambdas.ingest.lake_position import applied_in, applied_runs
from lambdas.ingest.unbuilt import Unbuilt, unbuilt
from pipeline.answers import Failure
from pipeline.applied_run import NEVER, AppliedRun
from pipeline.errors import ManifestInvalid, ObjectStoreUnavailable
from pipeline.manifest import ManifestStore
from star_schema.tables import star_table
from tests.unit.pipeline.test_pending import Runs, manifest

STAFF, CURRENCY = star_table("dim_staff"), star_table("dim_currency")


def metadata(*summaries: dict[str, str], current: int | None = None) -> dict[str, Any]:
    """Returns a table's metadata whose snapshots follow each other."""
    return {
        "current-snapshot-id": len(summaries) if current is None else current,
        "snapshots": [
            {"snapshot-id": number, "parent-snapshot-id": number - 1 or None, "summary": summary}
            for number, summary in enumerate(summaries, start=1)
        ],
    }


ONE, TWO = {"applied-through": "1"}, {"applied-through": "2", "run-id": "run-2"}
FIRST, SECOND = AppliedRun(1), AppliedRun(2, "run-2")
COMPACTED = {"total-records": "9"}


@pytest.mark.parametrize(
    ("document", "applied"),
    [
        ({}, NEVER),
        (metadata(), NEVER),
        ({"current-snapshot-id": -1, "snapshots": []}, NEVER),
        (metadata(ONE, TWO), SECOND),
        (metadata(ONE, TWO, current=1), FIRST),
        (metadata(ONE, TWO, COMPACTED), SECOND),
        (metadata(COMPACTED), None),
        (metadata({"total-records": "0"}), NEVER),
    ],
)
def test_the_current_snapshot_and_its_ancestors_name_the_run(document, applied):
    assert applied_in(document) == applied


@pytest.fixture
def store(moto_bucket: str) -> ManifestStore:
    return ManifestStore(moto_bucket, boto3.client("s3"))


def put_table(name: str, document: bytes | None, key: str = "") -> None:
    """Puts a table's metadata and its entry in the catalogue."""
    key = key or f"star/{name}/metadata/1.metadata.json"
    if document is not None:
        boto3.client("s3").put_object(Bucket="raw", Key=key, Body=document)
    boto3.client("glue").create_table(
        DatabaseName="star",
        TableInput={"Name": name, "Parameters": {"metadata_location": f"s3://raw/{key}"}},
    )


def test_the_catalogue_says_where_the_metadata_of_each_table_is(store: ManifestStore) -> None:
    glue = boto3.client("glue")
    glue.create_database(DatabaseInput={"Name": "star"})
    glue.create_table(DatabaseName="star", TableInput={"Name": "a_view"})
    put_table("plain", json.dumps(metadata(ONE)).encode())
    compressed = gzip.compress(json.dumps(metadata(TWO)).encode())
    put_table("compressed", compressed, "star/compressed/metadata/1.gz.metadata.json")
    put_table("missing", None)
    put_table("broken", b"{")

    names = ("plain", "compressed", "missing", "broken", "a_view", "absent")
    assert applied_runs(glue, boto3.client("s3"), "star", names) == {
        "plain": FIRST,
        "compressed": SECOND,
        "missing": None,
        "broken": None,
        "a_view": NEVER,
        "absent": NEVER,
    }


def test_a_catalogue_that_does_not_answer_is_no_empty_lake(store: ManifestStore) -> None:
    with pytest.raises(ObjectStoreUnavailable, match="the tables of the Glue database gone"):
        applied_runs(boto3.client("glue"), boto3.client("s3"), "gone", ["dim_staff"])


def lake(runs: dict[str, int | None]) -> dict[str, AppliedRun | None]:
    """Returns what a lake tells whose tables are built through some runs."""
    return {name: None if run is None else AppliedRun(run) for name, run in runs.items()}


def tables(store: ManifestStore, applied: dict[str, int | None], through: int) -> tuple[str, ...]:
    return unbuilt(store, (STAFF, CURRENCY), lake(applied), through=through, small_rows=0).tables


def test_only_what_no_build_has_applied_counts(store: ManifestStore) -> None:
    changes = {"staff": 1, "department": 1, "currency": 1}
    store.commit(manifest(1, changes))
    store.commit(manifest(2, {**changes, "currency": 2}))

    assert tables(store, {}, 2) == ("dim_staff", "dim_currency")
    assert tables(store, {"dim_staff": 1, "dim_currency": 1}, 2) == ("dim_currency",)
    # A source is quiet, and the build of its run has failed, or was rolled back.
    assert tables(store, {"dim_staff": 0, "dim_currency": 2}, 2) == ("dim_staff",)
    assert tables(store, {"dim_staff": None, "dim_currency": 2}, 2) == ("dim_staff",)
    assert tables(store, {"dim_staff": 1, "dim_currency": 2}, 2) == ()
    assert tables(store, {}, 0) == ()


def test_a_lake_that_is_ahead_of_the_raw_zone_is_not_taken_for_built(store: ManifestStore) -> None:
    store.commit(manifest(1, {"staff": 1, "department": 1, "currency": 1}))

    with pytest.raises(ManifestInvalid, match="dim_currency is built through run 2 in the lake"):
        tables(store, {"dim_staff": 1, "dim_currency": 2}, 1)


def test_a_raw_zone_that_has_come_to_the_runs_number_again_is_another_one(
    store: ManifestStore,
) -> None:
    store.commit(manifest(1, {"staff": 1, "department": 1, "currency": 1}))
    store.commit(manifest(2, {"staff": 2, "department": 1, "currency": 1}))

    def jobs(run_id: str) -> int:
        applied = {"dim_staff": AppliedRun(2, run_id), "dim_currency": AppliedRun(1, "gone")}
        return unbuilt(store, (STAFF, CURRENCY), applied, through=2, small_rows=0).jobs

    assert (jobs("run-2"), jobs("")) == (0, 0)
    with pytest.raises(ManifestInvalid, match=r"run 2 in the lake \(of execution another\)"):
        jobs("another")


def test_what_waits_for_a_joined_source_starts_no_build(store: ManifestStore) -> None:
    store.commit(manifest(1, {"staff": 1, "department": 1, "currency": 1}))
    for run in (2, 3):
        changes = {"staff": run, "department": 1, "currency": 1}
        store.commit(manifest(run, changes, not_taken={"department": "locked"}))

    assert tables(store, {"dim_staff": 1, "dim_currency": 1}, 3) == ()
    assert tables(store, {"dim_staff": 0, "dim_currency": 1}, 3) == ("dim_staff",)
    store.commit(manifest(4, changes))
    assert tables(store, {"dim_staff": 1, "dim_currency": 1}, 4) == ("dim_staff",)


def test_what_no_build_can_make_is_told_and_starts_none(store: ManifestStore) -> None:
    store.commit(manifest(1, {"staff": 1, "department": 1}))

    applied: dict[str, int | None] = {"dim_staff": 1, "dim_currency": 1}
    found = unbuilt(store, (STAFF, CURRENCY), lake(applied), through=1, small_rows=0)

    assert (found.tables, found.jobs) == ((), 0)
    failure = found.added_to(None)
    assert failure is not None
    assert failure.error == "SourceSchemaChanged"
    assert failure.cause.startswith("dim_currency reads currency, which the source no longer has")
    both = found.added_to(Failure("TablesNotTaken", "payment: locked"))
    assert both == Failure("TablesNotTaken", f"payment: locked; {failure.cause}")
    assert Unbuilt().added_to(both) is both


def test_a_small_build_is_one_job_and_a_large_one_is_two(store: ManifestStore) -> None:
    changes = {"staff": 1, "department": 1, "currency": 1}
    store.commit(manifest(1, changes, rows={"staff": 20, "department": 8, "currency": 3}))

    def jobs(applied: dict[str, int | None], small_rows: int) -> int:
        stars = (STAFF, CURRENCY)
        return unbuilt(store, stars, lake(applied), through=1, small_rows=small_rows).jobs

    built: dict[str, int | None] = {"dim_staff": 1, "dim_currency": 1}
    assert (jobs({}, 30), jobs({}, 31)) == (2, 1)
    assert (jobs({**built, "dim_currency": 0}, 3), jobs(built, 31)) == (1, 0)
    # What a table has applied is not known: the build finds little to do.
    assert jobs({**built, "dim_staff": None}, 0) == 1


def test_a_build_of_very_many_runs_is_large_and_few_manifests_are_read_to_tell() -> None:
    store = Runs([({"staff"}, set())] * 1000)

    found = unbuilt(store, (STAFF,), {"dim_staff": FIRST}, through=1000, small_rows=10**9)

    assert found.jobs == 2
    assert store.reads < 300
