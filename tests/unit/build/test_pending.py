"""Which runs a star table has to apply."""

from collections.abc import Mapping

import boto3
import pytest

from glue_jobs.build.pending import pending
from pipeline.errors import SourceSchemaChanged
from pipeline.manifest import Capture, Manifest, ManifestStore, Statistics, TableCapture
from star_schema.tables import star_table

DIM_STAFF = star_table("dim_staff")


@pytest.fixture
def store(moto_aws: None) -> ManifestStore:
    """Four runs: staff changed in 1 and 4, department in 1 and 3, nothing that matters in 2."""
    client = boto3.client("s3")
    client.create_bucket(
        Bucket="raw", CreateBucketConfiguration={"LocationConstraint": "eu-west-2"}
    )
    store = ManifestStore("raw", client)
    for sequence, staff, department in ((1, 1, 1), (2, 1, 1), (3, 1, 3), (4, 4, 3)):
        store.commit(manifest(sequence, {"staff": staff, "department": department}))
    return store


def manifest(sequence: int, changed_in: Mapping[str, int]) -> Manifest:
    tables = {
        name: TableCapture(
            capture=Capture.WHOLE if last == sequence else Capture.NONE,
            rows=0,
            files=(),
            key_files=(),
            not_held=0,
            quarantine_files=(),
            keys_swept=last == sequence,
            columns=(),
            primary_key=(),
            table_oid=1,
            horizon=1,
            statistics=Statistics(0, 0, 0, 0, None),
            content_digest=None,
            changed_in=last,
            previous_change=0 if last == 1 else 1,
        )
        for name, last in changed_in.items()
    }
    return Manifest(sequence, f"run-{sequence}", "2026-01-01T00:00:00Z", "1/1", 9, tables)


def sequences(store: ManifestStore, after: int, through: int) -> list[int]:
    return list(pending(store, DIM_STAFF, after=after, through=through).runs)


def test_every_run_that_changed_a_source_is_applied_in_order(store: ManifestStore) -> None:
    assert sequences(store, after=0, through=4) == [1, 3, 4]


def test_what_has_been_applied_is_not_applied_again(store: ManifestStore) -> None:
    assert sequences(store, after=3, through=4) == [4]
    assert sequences(store, after=4, through=4) == []


def test_runs_after_the_one_asked_for_are_left(store: ManifestStore) -> None:
    assert sequences(store, after=1, through=3) == [3]


def test_each_source_has_its_own_captures_the_newest_first(store: ManifestStore) -> None:
    captures = pending(store, DIM_STAFF, after=0, through=4).captures

    assert [run.sequence for run in captures["staff"]] == [4, 1]
    assert [run.sequence for run in captures["department"]] == [3, 1]


def test_a_source_that_is_gone_is_named(store: ManifestStore) -> None:
    store.commit(manifest(5, {"staff": 4}))

    with pytest.raises(SourceSchemaChanged, match="dim_staff reads department, which the source"):
        pending(store, DIM_STAFF, after=4, through=5)
