"""The runs that a warehouse has, with the instants of their snapshots."""

from typing import TYPE_CHECKING

import psycopg
import pytest

from lambdas.load import captured_runs
from lambdas.load.captured_runs import record_runs, refuse_other_runs, wrong_runs
from pipeline.errors import StarSchemaMismatch
from pipeline.manifest import Manifest, ManifestStore, key_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def store(raw_bucket: str, s3: "S3Client") -> ManifestStore:
    """Five runs, an hour apart."""
    store = ManifestStore(raw_bucket, s3)
    for run in range(1, 6):
        store.commit(Manifest(run, f"run-{run}", f"2026-01-31T0{run}:30:00+01:00", "1", 1, {}))
    return store


def recorded(warehouse: psycopg.Connection) -> list[tuple[int, str, int]]:
    return warehouse.execute(
        "select sequence, run_id, extract(hour from snapshot_at at time zone 'UTC')::integer "
        "from captured_run order by sequence"
    ).fetchall()


def test_runs_that_are_loaded_together_each_have_their_instant(
    warehouse: psycopg.Connection, store: ManifestStore
) -> None:
    record_runs(warehouse, store, 1)
    record_runs(warehouse, store, 4)
    record_runs(warehouse, store, 4)

    assert recorded(warehouse) == [(run, f"run-{run}", run - 1) for run in (1, 2, 3, 4)]


def test_a_warehouse_of_an_earlier_version_gets_its_runs_by_and_by(
    warehouse: psycopg.Connection, store: ManifestStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captured_runs, "_MOST", 2)
    sequences = []
    for _ in range(3):
        record_runs(warehouse, store, 5)
        sequences.append([run for run, _, _ in recorded(warehouse)])

    assert sequences == [[4, 5], [2, 3, 4, 5], [1, 2, 3, 4, 5]]


def test_a_run_without_a_manifest_hides_no_other(
    warehouse: psycopg.Connection, store: ManifestStore, raw_bucket: str, s3: "S3Client"
) -> None:
    s3.delete_object(Bucket=raw_bucket, Key=key_of(2))

    record_runs(warehouse, ManifestStore(raw_bucket, s3), 3)

    assert [run for run, _, _ in recorded(warehouse)] == [1, 3]


@pytest.mark.parametrize("anew", [False, True])
def test_a_load_that_lingers_leaves_the_runs_of_a_later_one(
    warehouse: psycopg.Connection, store: ManifestStore, anew: bool
) -> None:
    warehouse.execute("insert into load_position (table_name, sequence) values ('dim_date', 4)")
    record_runs(warehouse, store, 4)

    record_runs(warehouse, store, 3, anew=anew)

    assert [run for run, _, _ in recorded(warehouse)] == [1, 2, 3, 4]


def test_a_rebuild_forgets_the_runs_of_another_raw_zone(
    warehouse: psycopg.Connection, store: ManifestStore
) -> None:
    for run in (1, 2, 9):
        warehouse.execute(
            "insert into captured_run values (%s, %s, now())", [run, f"of another {run}"]
        )

    record_runs(warehouse, store, 2, anew=True)

    assert [name for _, name, _ in recorded(warehouse)] == ["run-1", "run-2"]


def test_a_raw_zone_that_has_come_to_the_warehouse_s_runs_again_is_another_one(
    warehouse: psycopg.Connection, store: ManifestStore
) -> None:
    refuse_other_runs(warehouse, store, 5)
    record_runs(warehouse, store, 3)
    refuse_other_runs(warehouse, store, 5)
    warehouse.execute("update captured_run set run_id = 'another' where sequence = 3")

    refuse_other_runs(warehouse, store, 2)
    with pytest.raises(StarSchemaMismatch, match="has run 3 of execution another"):
        refuse_other_runs(warehouse, store, 5)


def test_runs_that_somebody_changed_are_told(
    warehouse: psycopg.Connection, store: ManifestStore, raw_bucket: str, s3: "S3Client"
) -> None:
    record_runs(warehouse, store, 5)
    assert wrong_runs(warehouse, store, 5) == []
    warehouse.execute(
        "update captured_run set run_id = 'theirs' where sequence = 2; "
        "update captured_run set snapshot_at = snapshot_at + interval '1 s' where sequence = 4; "
        "delete from captured_run where sequence = 3"
    )
    s3.delete_object(Bucket=raw_bucket, Key=key_of(1))

    assert wrong_runs(warehouse, ManifestStore(raw_bucket, s3), 5) == [4, 3, 2]


def test_a_warehouse_that_is_not_installed_has_no_run(
    empty_warehouse: psycopg.Connection, store: ManifestStore
) -> None:
    refuse_other_runs(empty_warehouse, store, 5)
