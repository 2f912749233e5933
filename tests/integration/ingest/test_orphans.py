"""Files that no run names are found, and removed when asked."""

from datetime import UTC, datetime, timedelta

import pytest

from lambdas.ingest import orphans
from pipeline.errors import ObjectStoreUnavailable
from pipeline.manifest import key_of
from tests.integration.ingest.ingestion import Ingestion


@pytest.fixture
def source(ingestion: Ingestion) -> Ingestion:
    """A raw zone with two runs, between which another one died."""
    ingestion.execute(
        "create table a (id integer primary key)",
        "create table b (id integer primary key)",
        "insert into a values (1)",
        "insert into b values (1)",
    )
    ingestion.run()
    ingestion.execute("insert into a values (2)", "insert into b values (2)")
    with ingestion.failing_puts(1), pytest.raises(ObjectStoreUnavailable):
        ingestion.run()
    ingestion.run()
    return ingestion


def test_the_files_of_a_run_that_died_are_orphans_and_no_others(source: Ingestion) -> None:
    found = orphans.unnamed(
        source.bucket, source.client, written_before=datetime.now(UTC) + timedelta(minutes=1)
    )

    (orphan,) = found.orphans
    assert found.of_others == ()
    assert orphan.startswith("raw/a/")
    assert orphan.endswith("/0000000002-0000.parquet")


def test_a_file_that_may_be_of_a_run_under_way_is_no_orphan(source: Ingestion) -> None:
    assert not orphans.unnamed(
        source.bucket, source.client, written_before=datetime.now(UTC) - timedelta(days=1)
    ).orphans


def test_the_command_names_orphans_and_removes_them_when_asked(
    source: Ingestion, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(orphans, "_OLD_ENOUGH", timedelta(minutes=-1))
    before = source.objects()

    assert orphans.main([source.bucket]) == 0
    named = capsys.readouterr().out.splitlines()
    assert source.objects() == before

    assert orphans.main([source.bucket, "--remove"]) == 0
    assert before.keys() - source.objects().keys() == set(named)
    source.execute("insert into a values (3)")
    source.run()
    assert source.manifest().sequence == 3


def test_the_files_of_a_first_run_that_died_are_orphans_once_there_is_one(
    ingestion: Ingestion,
) -> None:
    ingestion.execute("create table a (id integer)", "insert into a values (1)")
    with ingestion.before_put("runs/", _fail), pytest.raises(RuntimeError):
        ingestion.run()
    left = set(ingestion.objects())
    assert _orphans(ingestion) == set()

    ingestion.run()

    assert _orphans(ingestion) == left


def _fail() -> None:
    raise RuntimeError


def _orphans(ingestion: Ingestion) -> set[str]:
    later = datetime.now(UTC) + timedelta(minutes=1)
    found = orphans.unnamed(ingestion.bucket, ingestion.client, written_before=later)
    return set(found.orphans)


def test_files_of_runs_whose_manifests_were_deleted_are_no_orphans(source: Ingestion) -> None:
    source.client.delete_object(Bucket=source.bucket, Key=key_of(2))
    assert _orphans(source) == set()

    source.execute("insert into a values (3)")
    source.run(run_id="another")
    found = _orphans(source)
    assert {key.rpartition("/")[2].partition("-")[0] for key in found} == {"0000000002"}


@pytest.mark.parametrize(
    "key",
    [
        "raw/a/notes.txt",
        "raw/a/",
        "raw/a/export.parquet",
        "raw/a/0000000001-0000.parquet",
        "raw/a/year=2026/month=01/day=31/part-0000.parquet",
        "raw/a/year=2026/month=01/day=31/0000000001-0000.parquet.bak",
        "raw/a/year=2026/month=01/day=31/old/0000000001-0000.parquet",
        "raw_keys/a/year=2026/month=1/day=31/0000000001-0000.parquet",
        "raw_quarantine/a/year=2026/month=01/day=31/0000000000-0000.parquet",
    ],
)
def test_objects_of_others_are_named_and_kept(
    source: Ingestion, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    monkeypatch.setattr(orphans, "_OLD_ENOUGH", timedelta(minutes=-1))
    source.client.put_object(Bucket=source.bucket, Key=key, Body=b"theirs")

    assert orphans.main([source.bucket, "--remove"]) == 0

    said = capsys.readouterr()
    assert key in source.objects()
    assert said.err == f"kept, as Ingest did not write it: {key}\n"
    assert len(said.out.splitlines()) == 1
