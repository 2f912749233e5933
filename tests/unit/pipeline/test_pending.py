"""Which runs a star table has to apply."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SourceSchemaChanged
from pipeline.manifest import Capture, Manifest, ManifestStore
from pipeline.pending import pending, pending_captures
from star_schema.tables import star_table
from tests.fixtures.captures import capture_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DIM_STAFF = star_table("dim_staff")
DIM_DESIGN = star_table("dim_design")
DIM_DATE = star_table("dim_date")


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


def manifest(
    sequence: int,
    changed_in: Mapping[str, int],
    *,
    previous: Mapping[str, int] | None = None,
    not_taken: Mapping[str, str] | None = None,
    since: Mapping[str, int] | None = None,
    rows: Mapping[str, int] | None = None,
    **others: Any,
) -> Manifest:
    tables = {
        name: capture_of(
            last,
            sequence,
            capture=Capture.WHOLE if last == sequence else Capture.NONE,
            rows=(rows or {}).get(name, 0),
            keys_swept=last == sequence,
            previous_change=(previous or {}).get(name, 0 if last == 1 else 1),
            not_taken=(not_taken or {}).get(name, ""),
            not_taken_since=(since or {}).get(name, 0),
            **others,
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


def test_a_joined_table_waits_for_a_run_that_has_all_its_sources(store: ManifestStore) -> None:
    store.commit(
        manifest(
            5,
            {"staff": 5, "department": 3},
            previous={"staff": 4, "department": 1},
            not_taken={"department": "permission denied"},
        )
    )

    waiting = pending(store, DIM_STAFF, after=3, through=5)

    assert (list(waiting.runs), waiting.head) == ([4], store.read(4))
    assert waiting.waits == "run 5 did not take department: permission denied"
    assert pending(store, DIM_STAFF, after=4, through=5).runs == {}
    # Nothing changed in 6, but it has both: the change of 5 shows there.
    store.commit(manifest(6, {"staff": 5, "department": 3}, previous={"staff": 4, "department": 1}))
    assert sequences(store, after=4, through=6) == [6]
    assert pending(store, DIM_STAFF, after=4, through=6).waits == ""


def test_a_run_from_before_a_source_existed_is_not_applied(store: ManifestStore) -> None:
    store.commit(manifest(5, {"staff": 5}, previous={"staff": 4}))
    store.commit(manifest(6, {"staff": 5, "department": 6}, previous={"staff": 4, "department": 3}))

    assert sequences(store, after=4, through=6) == [6]


def test_a_table_of_one_source_waits_for_no_run(store: ManifestStore) -> None:
    store.commit(manifest(5, {"payment_type": 2}, not_taken={"payment_type": "locked"}))

    todo = pending(store, star_table("dim_payment_type"), after=2, through=5)

    assert (todo.runs, todo.head, todo.waits) == ({}, store.read(5), "")


class Runs(ManifestStore):
    """Manifests of runs that were drawn: which sources changed in each, and which it lacks."""

    def __init__(self, drawn: list[tuple[set[str], set[str]]], *, tells_since: bool = True) -> None:
        super().__init__("raw", cast("S3Client", None))
        self.reads = 0
        self._runs: dict[int, Manifest] = {}
        changes = {"staff": 0, "department": 0}
        since = dict.fromkeys(changes, 0)
        for sequence, (changed, lacking) in enumerate(drawn, start=1):
            since = {name: since[name] or sequence if name in lacking else 0 for name in changes}
            taken = changed - lacking
            before = {
                name: self._runs[sequence - 1].tables[name].previous_change if sequence > 1 else 0
                for name in changes
            }
            previous = {name: changes[name] if name in taken else before[name] for name in changes}
            changes |= dict.fromkeys(taken, sequence)
            self._runs[sequence] = manifest(
                sequence,
                changes,
                previous=previous,
                not_taken=dict.fromkeys(lacking, "locked"),
                since=since if tells_since else {},
            )

    def read(self, sequence: int) -> Manifest:
        self.reads += 1
        return self._runs[sequence]


SOURCES = st.sets(st.sampled_from(["staff", "department"]))


@given(
    drawn=st.lists(st.tuples(SOURCES, SOURCES), min_size=1, max_size=8),
    stops=st.sets(st.integers(1, 8)),
    tells_since=st.booleans(),
)
def test_however_builds_divide_the_runs_the_same_ones_are_applied(
    drawn: list[tuple[set[str], set[str]]], stops: set[int], tells_since: bool
) -> None:
    store, last = Runs(drawn, tells_since=tells_since), len(drawn)
    complete = [n for n, (_, lacking) in enumerate(drawn, start=1) if not lacking]
    changed = [n for n, (sources, lacking) in enumerate(drawn, start=1) if sources - lacking]
    newest = max(complete, default=0)
    wanted = {min(n for n in complete if n >= run) for run in changed if run <= newest}

    applied: list[int] = []
    after = 0
    for through in sorted(stop for stop in stops | {last} if stop <= last):
        todo = pending(store, DIM_STAFF, after=after, through=through)
        captures = list(pending_captures(store, DIM_STAFF, after=after, through=through))
        assert len(captures) == sum(map(len, todo.captures.values()))
        assert bool(captures) == bool(todo.runs)
        applied += todo.runs
        after = todo.head.sequence if todo.head else after

    assert applied == sorted(wanted)
    assert after == newest


def test_what_waits_for_a_source_since_long_is_found_by_few_manifests() -> None:
    store = Runs([({"staff", "department"}, set()), *[({"staff"}, {"department"})] * 500])

    assert not list(pending_captures(store, DIM_STAFF, after=1, through=501))
    assert store.reads < 10


class Swept(Runs):
    """Runs of which each captures a row, and looks at all of the table's 7,000 keys."""

    def __init__(self, *sources: str, key_files: tuple[str, ...] = ()) -> None:
        super().__init__([])
        self._runs = {
            n: manifest(
                n,
                dict.fromkeys(sources, n),
                previous=dict.fromkeys(sources, n - 1),
                rows=dict.fromkeys(sources, 1),
                content_digest="1:7000:-5",
                key_files=key_files,
            )
            for n in range(1, 21)
        }


def test_each_key_of_each_sweep_counts_as_a_row() -> None:
    store = Swept("design", key_files=("raw_keys/a",))

    assert pending(store, DIM_DESIGN, after=0, through=20).rows == 20 * 7001
    assert list(pending_captures(store, DIM_DESIGN, after=0, through=20)) == [7001] * 20
    assert pending(Swept("design"), DIM_DESIGN, after=0, through=20).rows == 20


def test_keys_count_only_where_deletions_are_told_from_them() -> None:
    store = Swept(*DIM_DATE.sources, key_files=("raw_keys/a",))
    rows = 20 * len(DIM_DATE.sources)

    assert pending(store, DIM_DATE, after=0, through=20).rows == rows
    assert list(pending_captures(store, DIM_DATE, after=0, through=20)) == [1] * rows


def test_each_run_has_all_rows_of_what_a_select_joins() -> None:
    todo = pending(Swept("staff", "department"), DIM_STAFF, after=10, through=20)
    assert todo.rows == 10 * 2 * 7000
