"""Manifests: the commit of a run, and the chain of a table's changes."""

import boto3
import pytest

from pipeline.errors import ManifestInvalid, RunConflict
from pipeline.manifest import Capture, Column, Manifest, ManifestStore, Statistics, TableCapture


@pytest.fixture
def store(moto_bucket: str) -> ManifestStore:
    return ManifestStore(moto_bucket, boto3.client("s3"))


def manifest(sequence: int, *, changed_in: int, previous_change: int) -> Manifest:
    captured = changed_in == sequence
    table = TableCapture(
        capture=Capture.CHANGES if captured else Capture.NONE,
        rows=1 if captured else 0,
        files=(f"raw/design/{sequence:010d}-0000.parquet",) if captured else (),
        key_files=(),
        not_held=0,
        quarantine_files=(),
        keys_swept=False,
        columns=(Column("design_id", "integer", "int32"),),
        primary_key=("design_id",),
        table_oid=1,
        horizon=2**33,
        statistics=Statistics(1, 2, 3, 4, None),
        content_digest="1:5",
        changed_in=changed_in,
        previous_change=previous_change,
    )
    return Manifest(
        sequence, f"run-{sequence}", "2026-01-01T00:00:00Z", "1/1", 9, {"design": table}
    )


def test_a_manifest_reads_back_as_it_was_written() -> None:
    written = manifest(3, changed_in=3, previous_change=1)

    assert Manifest.from_json(written.to_json(), "runs/x") == written


def test_text_that_is_no_manifest_is_refused_with_the_objects_key() -> None:
    with pytest.raises(ManifestInvalid, match=r"runs/0000000001\.json"):
        Manifest.from_json("{}", "runs/0000000001.json")


def test_there_is_no_newest_run_in_an_empty_bucket(store: ManifestStore) -> None:
    assert store.newest() is None


def test_the_newest_run_is_found_from_any_known_one(store: ManifestStore) -> None:
    for sequence in (1, 2, 3):
        store.commit(manifest(sequence, changed_in=sequence, previous_change=sequence - 1))

    for since in (0, 1, 3):
        newest = store.newest(since)
        assert newest is not None
        assert newest.sequence == 3


def test_a_sequence_is_committed_once(store: ManifestStore) -> None:
    store.commit(manifest(1, changed_in=1, previous_change=0))

    with pytest.raises(RunConflict, match="run 1"):
        store.commit(manifest(1, changed_in=0, previous_change=0))


def test_a_tables_changes_are_found_by_the_chain_alone(store: ManifestStore) -> None:
    for sequence, changed_in, previous in ((1, 1, 0), (2, 1, 0), (3, 3, 1), (4, 4, 3), (5, 4, 3)):
        store.commit(manifest(sequence, changed_in=changed_in, previous_change=previous))

    changes = [run.sequence for run in store.changes("design", after=1, through=5)]

    assert changes == [4, 3]
