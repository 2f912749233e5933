"""Manifests: the commit of a run, and the chain of a table's changes."""

import dataclasses
import json
import threading
from collections.abc import Callable, Iterable
from unittest.mock import Mock

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ManifestInvalid, ObjectMissing, RunConflict
from pipeline.manifest import (
    MOST_HOMES,
    Capture,
    Column,
    Manifest,
    ManifestStore,
    Statistics,
    TableCapture,
    key_of,
)
from pipeline.object_store import ObjectStore


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


def unread(sequence: int) -> Manifest:
    raise AssertionError(f"manifest {sequence} is not needed")


def test_a_manifest_reads_back_as_it_was_written() -> None:
    written = manifest(3, changed_in=3, previous_change=1)

    assert Manifest.from_json(written.to_json(), "runs/x", unread) == written


def test_text_that_is_no_manifest_is_refused_with_the_objects_key() -> None:
    with pytest.raises(ManifestInvalid, match=r"runs/0000000001\.json"):
        Manifest.from_json("{}", "runs/0000000001.json", unread)


@pytest.mark.parametrize("text", ["", "null", "[]", '"text"', "7", '{"format": 2, "tables": null}'])
def test_json_of_another_shape_is_refused_as_well(text: str) -> None:
    with pytest.raises(ManifestInvalid, match="runs/x is not a manifest"):
        Manifest.from_json(text, "runs/x", unread)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace('"rows":1,', '"rows":2,'),
        lambda text: text.replace("0000000001-0000", "0000000002-0000"),
        lambda text: text.replace('"carried":{}', '"carried":{"design":7}'),
        lambda text: json.dumps(json.loads(text), indent=2),
        lambda text: text.replace('"sha256":"', '"sha256":"0'),
        lambda text: text.replace("}", "} ", 1),
    ],
)
def test_a_manifest_that_was_edited_is_refused(edit: Callable[[str], str]) -> None:
    text = manifest(1, changed_in=1, previous_change=0).to_json()
    assert edit(text) != text

    with pytest.raises(ManifestInvalid, match="runs/x was edited since Ingest wrote it: restore"):
        Manifest.from_json(edit(text), "runs/x", unread)


@pytest.mark.parametrize("place", ["run", "table"])
def test_what_a_newer_version_added_is_not_read_as_damage(place: str) -> None:
    document = json.loads(manifest(1, changed_in=1, previous_change=0).to_json())
    del document["sha256"]
    (document if place == "run" else document["tables"]["design"])["added"] = 1

    with pytest.raises(ManifestInvalid, match=r"'added'.*if a newer version wrote it, deploy"):
        Manifest.from_json(json.dumps(document), "runs/x", unread)


@pytest.mark.parametrize(("copied", "over"), [(2, 3), (1, 2), (2, 1), (1, 9)])
def test_a_manifest_that_was_copied_to_the_key_of_another_run_is_refused(
    moto_bucket: str, store: ManifestStore, copied: int, over: int
) -> None:
    for sequence in (1, 2):
        store.commit(manifest(sequence, changed_in=sequence, previous_change=sequence - 1))
    client = boto3.client("s3")
    source = f"{moto_bucket}/{key_of(copied)}"
    client.copy_object(Bucket=moto_bucket, Key=key_of(over), CopySource=source)
    found = ManifestStore(moto_bucket, client)

    with pytest.raises(ManifestInvalid, match=f"{over:010d}.* manifest of run {copied}: "):
        found.read(over) if over < 2 else found.newest()


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


def commit_chain(objects: dict[str, bytes], changed: Iterable[int], *, through: int) -> None:
    """Commits runs of which some changed the table."""
    store, last, before = store_of(objects), 0, 0
    for sequence in range(1, through + 1):
        if sequence in changed:
            last, before = sequence, last
        store.commit(manifest(sequence, changed_in=last, previous_change=before))


def chain(store: ManifestStore, through: int) -> list[int]:
    return [run.sequence for run in store.all_changes("design", after=0, through=through)]


def test_a_long_chain_is_read_side_by_side() -> None:
    objects: dict[str, bytes] = {}
    commit_chain(objects, range(1, 101), through=100)
    store, together = store_of(objects), threading.Barrier(2, timeout=10)

    def get(key: str) -> bytes:
        if key in (key_of(40), key_of(41)):
            together.wait()
        return objects[key]

    store.objects.get.side_effect = get  # type: ignore[attr-defined]

    assert chain(store, 100) == list(range(100, 0, -1))


@pytest.mark.parametrize("gap", [1, 7, 40])
def test_a_chain_reads_at_most_four_manifests_for_each_of_its_own(gap: int) -> None:
    objects: dict[str, bytes] = {}
    changed = range(1, 401, gap)
    commit_chain(objects, changed, through=400)
    store = store_of(objects)

    assert chain(store, 400) == list(reversed(changed))
    assert len(store._read) <= min(400, 1 + 4 * len(changed))


def test_a_manifest_beside_the_chain_that_is_lost_or_broken_does_no_harm() -> None:
    objects: dict[str, bytes] = {}
    commit_chain(objects, range(1, 41, 2), through=40)
    del objects[key_of(10)]
    objects[key_of(20)] = b"torn"
    store = store_of(objects)

    assert chain(store, 40) == list(range(39, 0, -2))
    with pytest.raises(ManifestInvalid, match="runs/0000000020"):
        store.read(20)


def test_a_chain_ends_at_a_manifest_of_it_that_is_lost() -> None:
    objects: dict[str, bytes] = {}
    commit_chain(objects, range(1, 41), through=40)
    del objects[key_of(10)]

    with pytest.raises(ManifestInvalid, match="is missing"):
        chain(store_of(objects), 40)


def commit_changes(store: ManifestStore, runs: list[set[int]]) -> list[dict[str, TableCapture]]:
    """Commits runs that each changed some of 30 tables, and returns the entries of each run."""
    written: list[dict[str, TableCapture]] = []
    previous: Manifest | None = None
    for sequence, changed in enumerate(runs, 1):
        tables = {name: entry.unchanged() for name, entry in written[-1].items()} if written else {}
        for number in changed:
            one = manifest(sequence, changed_in=sequence, previous_change=0).tables["design"]
            tables[f"table_{number}"] = dataclasses.replace(one, table_oid=number)
        run = Manifest(sequence, f"run-{sequence}", "2026-01-01T00:00:00Z", "1/1", 9, tables)
        store.commit(run, previous)
        previous = store.read(sequence)
        written.append(tables)
    return written


RUNS = st.lists(st.sets(st.integers(0, 29), max_size=4), min_size=1, max_size=25)


@settings(max_examples=20)
@given(later=RUNS)
def test_every_run_has_all_tables_and_few_other_manifests_have_entries_of_it(
    later: list[set[int]],
) -> None:
    objects: dict[str, bytes] = {}
    runs = [set(range(30)), *later]
    written = commit_changes(store_of(objects), runs)

    for sequence, tables in enumerate(written, 1):
        read: set[int] = set()
        text = objects[key_of(sequence)]

        def read_another(home: int, read: set[int] = read) -> Manifest:
            read.add(home)
            return Manifest.from_json(objects[key_of(home)], key_of(home), unread)

        found = Manifest.from_json(text, key_of(sequence), read_another)
        assert found.tables == tables
        assert len(read) <= MOST_HOMES
        assert found.tables.keys() == {f"table_{number}" for number in range(30)}


def store_of(objects: dict[str, bytes]) -> ManifestStore:
    """Returns a store whose objects are in a dictionary."""
    store = ManifestStore("bucket", Mock())
    fake = Mock(spec=ObjectStore)

    def get(key: str) -> bytes:
        if key not in objects:
            raise ObjectMissing(key)
        return objects[key]

    fake.get.side_effect = get
    fake.address.side_effect = str
    fake.put_if_absent.side_effect = lambda key, text, _: objects.setdefault(key, text) is text
    store.objects = fake
    return store


def test_a_manifest_is_as_large_as_what_has_changed() -> None:
    objects: dict[str, bytes] = {}

    commit_changes(store_of(objects), [set(range(30)), *({n} for n in range(6))])

    sizes = [len(objects[key_of(sequence)]) for sequence in range(1, 8)]
    assert max(sizes[1:]) < sizes[0] / 5


def test_a_manifest_of_the_first_format_has_every_entry() -> None:
    run = manifest(3, changed_in=3, previous_change=1)
    document = json.loads(run.to_json()) | {"format": 1}
    text = json.dumps({k: v for k, v in document.items() if k not in ("carried", "sha256")})

    assert Manifest.from_json(text, "runs/x", unread) == run
