"""A run that is larger than one invocation goes on in the next, and loses nothing."""

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from lambdas.ingest import change_capture, chunks, source_reader
from lambdas.ingest.ingest import IngestResult
from pipeline.errors import ObjectStoreUnavailable
from tests.fixtures.waiting import wait_until
from tests.integration.ingest.ingestion import Ingestion, not_taken

ROWS = 3000
CHUNKS = 7
PROGRESS_OF_THE_FIRST_VERSION: dict[str, dict[str, Any]] = {
    "plan.json": {
        "plan": {
            "sequence": 1,
            "snapshot": {
                "horizon": 700,
                "next_transaction": 700,
                "taken_at": "2026-11-25T10:00:00.000000Z",
                "system_identifier": "7576861427131469850/1",
            },
            "tables": [
                {
                    "table": {
                        "oid": 16384,
                        "name": "orders",
                        "bytes": 229376,
                        "pages": 28,
                        "total_bytes": 262144,
                        "is_partitioned": False,
                        "primary_key": ["id"],
                        "columns": [
                            {"name": "id", "source_type": "integer", "raw_type": "int32"},
                            {"name": "note", "source_type": "text", "raw_type": "string"},
                        ],
                    },
                    "plan": {
                        "capture": "whole",
                        "since": 0,
                        "sweep_keys": False,
                        "content_digest": "3000:1",
                        "cursor_moves": True,
                    },
                    "statistics": {
                        "inserted": 3000,
                        "updated": 0,
                        "deleted": 0,
                        "file_node": 16384,
                        "reset_at": None,
                    },
                    "chunks": [{"first": 0, "end": None}],
                }
            ],
            "warnings": [],
        },
        "invocations": 1,
    },
    "chunks/6f7264657273-000000.json": {
        "table": "orders",
        "chunk": 0,
        "rows": 1,
        "files": ["raw/orders/of/the/first/version.parquet"],
        "not_held": 0,
        "quarantine_files": [],
        "seconds": 0.1,
        "invocation": 0,
    },
}
"""What version 2703f70 wrote under `progress/<run_id>/` when its time was up."""


FLUSH = "select pg_stat_force_next_flush()"


@pytest.fixture
def source(ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch) -> Ingestion:
    """A table of several chunks, of which nothing has been taken, and a small one."""
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 4 * 8192)
    ingestion.execute(
        # A vacuum between two invocations frees space for new rows in chunks that have been read.
        "create table orders (id integer primary key, note text) with (autovacuum_enabled = off)",
        "insert into orders select n, repeat('x', 50) from generate_series(1, 3000) as n",
        "create table design (id integer primary key)",
        "insert into design values (1)",
    )
    return ingestion


def time_for(tasks: int) -> Callable[[], float]:
    """Returns how long is left: enough for a number of tasks, and then nothing."""
    asked = 0

    def seconds_left() -> float:
        nonlocal asked
        asked += 1
        return 10_000.0 if asked <= tasks else 0.0

    return seconds_left


def until_complete(source: Ingestion, tasks: int, most: int = 100) -> list[IngestResult]:
    """Invokes with time for some tasks each, until the run is complete, or so many times."""
    results = [source.run(seconds_left=time_for(tasks))]
    while not results[-1].complete and len(results) < most:
        results.append(source.run(seconds_left=time_for(tasks)))
    return results


def ids(source: Ingestion) -> list[int]:
    return sorted(row["id"] for row in source.taken("orders"))


@pytest.mark.parametrize("tasks", [1, 2, 3, CHUNKS, CHUNKS + 1])
def test_a_run_goes_on_wherever_the_deadline_came(source: Ingestion, tasks: int) -> None:
    *before, last = until_complete(source, tasks)

    assert not any(result.committed for result in before)
    assert (last.committed, last.sequence) == (True, 1)
    assert ids(source) == list(range(1, ROWS + 1))
    assert source.taken("design") == [{"id": 1}]


def test_nothing_of_a_run_is_visible_before_it_is_complete(source: Ingestion) -> None:
    result = source.run(seconds_left=time_for(3))

    assert (result.complete, result.committed, result.sequence) == (False, False, 0)
    assert not [key for key in source.objects() if key.startswith("runs/")]


def test_what_is_done_is_not_read_again(source: Ingestion) -> None:
    source.run(seconds_left=time_for(5))
    before = {key for key in source.objects() if key.startswith("raw/")}

    source.run()

    assert before <= set(source.manifest().tables["orders"].files) | set(
        source.manifest().tables["design"].files
    )


@pytest.mark.parametrize("put", range(0, 2 * CHUNKS + 4, 3))
def test_a_run_that_is_killed_goes_on_from_where_it_was(source: Ingestion, put: int) -> None:
    with source.failing_puts(put), pytest.raises(ObjectStoreUnavailable):
        source.run()

    source.run()

    assert ids(source) == list(range(1, ROWS + 1))


def test_a_row_that_is_deleted_meanwhile_shows_as_gone(source: Ingestion) -> None:
    source.run(seconds_left=time_for(4))
    source.execute("delete from orders where id in (1, 2999)")

    source.run()

    swept = {row["id"] for row in source.swept("orders")}
    assert swept == set(range(1, ROWS + 1)) - {1, 2999}


def test_what_is_written_meanwhile_comes_with_the_next_run_at_the_latest(
    source: Ingestion,
) -> None:
    source.run(seconds_left=time_for(4))
    source.execute(
        "update orders set note = 'moved' where id in (1, 1500, 3000)",
        "insert into orders values (3001, 'new')",
    )
    source.run()

    source.run()

    assert {row["id"]: row["note"] for row in source.taken("orders")} == {
        1: "moved",
        1500: "moved",
        3000: "moved",
        3001: "new",
    }


@pytest.mark.parametrize(
    "statement",
    [
        "vacuum (full) orders",
        "alter table orders add column more integer",
        "alter table orders drop constraint orders_pkey",
        "truncate orders",
        "drop table design",
    ],
)
def test_a_run_whose_tables_are_not_what_they_were_begins_again(
    source: Ingestion, statement: Any
) -> None:
    source.run(seconds_left=time_for(3))
    source.execute(statement)

    source.run()

    with source.connect() as connection:
        rows = connection.execute("select id from orders order by 1").fetchall()
    assert ids(source) == [row[0] for row in rows]


def test_a_table_that_is_altered_again_and_again_costs_no_other(source: Ingestion) -> None:
    results = [source.run(seconds_left=time_for(3))]
    while not results[-1].complete and len(results) < CHUNKS:
        source.execute("truncate design")
        results.append(source.run(seconds_left=time_for(3)))

    assert results[-1].complete
    assert ids(source) == list(range(1, ROWS + 1))
    read = {key for key in source.objects() if key.startswith("raw/orders/")}
    assert read == set(source.manifest().tables["orders"].files)


def test_key_sweeps_are_made_in_as_many_invocations_as_they_take(source: Ingestion) -> None:
    source.execute("insert into design values (2), (3)")
    source.run(run_id="first")
    source.execute("delete from design where id = 1", "delete from orders where id = 1")

    *_, last = until_complete(source, 1, most=2 * CHUNKS + 4)

    assert last.complete
    assert {row["id"] for row in source.swept("design")} == {2, 3}
    assert {row["id"] for row in source.swept("orders")} == set(range(2, ROWS + 1))
    swept = {key for key in source.objects() if key.startswith("raw_keys/")}
    tables = source.manifest().tables
    assert swept == {*tables["design"].key_files, *tables["orders"].key_files}


@pytest.mark.usefixtures("hurried")
def test_a_table_that_is_locked_when_a_run_goes_on_costs_no_other(source: Ingestion) -> None:
    source.run(seconds_left=time_for(5))
    before = {key for key in source.objects() if key.startswith("raw/orders/")}
    with source.connect() as connection:
        connection.execute("lock table design in access exclusive mode")

        result = source.run()

    assert (result.complete, list(not_taken(result))) == (True, ["design"])
    assert before
    assert before < set(source.manifest().tables["orders"].files)


def test_a_row_that_moves_to_an_empty_leaf_meanwhile_is_not_lost(source: Ingestion) -> None:
    source.execute(
        "create table sale (id integer primary key)",
        "create table old_sale (primary key (id)) inherits (sale)",
        "insert into sale values (1), (2)",
    )
    source.run(run_id="first")
    source.run(full_refresh=True, seconds_left=time_for(3))
    source.execute(
        "with moved as (delete from sale where id = 1 returning id) "
        "insert into old_sale select id from moved"
    )

    source.run(full_refresh=True)

    assert source.manifest().tables["sale"].keys_swept
    assert sorted(row["id"] for row in source.taken("sale")) == [1, 2]


def test_a_row_that_moves_between_invocations_that_overlap_is_not_lost(source: Ingestion) -> None:
    source.run(seconds_left=time_for(0))
    other: list[IngestResult] = []

    def overlapped() -> float:
        other.extend([] if other else [source.run(seconds_left=time_for(3))])
        return 0.0

    source.run(seconds_left=overlapped)
    source.execute("delete from orders where id < 100", "vacuum orders")
    source.execute("update orders set note = 'moved' where id = 3000")

    source.run()

    assert 3000 in {row["id"] for row in source.swept("orders")}


def test_another_execution_begins_anew(source: Ingestion) -> None:
    source.run(seconds_left=time_for(3))
    source.execute("delete from orders where id = 1")

    source.run(run_id="another")

    assert ids(source) == list(range(2, ROWS + 1))
    assert not source.manifest().tables["orders"].key_files


def test_a_run_that_another_one_overtook_begins_again_behind_it(source: Ingestion) -> None:
    source.run(seconds_left=time_for(3))
    source.run(run_id="another")

    result = source.run()

    assert (result.complete, result.committed, result.sequence) == (True, False, 1)


def test_a_run_with_warnings_commits_nothing_before_it_is_complete(source: Ingestion) -> None:
    source.execute("create table colour (id integer primary key)")
    source.run(run_id="first")
    source.execute("drop table colour", "update orders set note = 'changed'")

    result = source.run(run_id="second", seconds_left=time_for(1))

    assert result.warnings == ("table colour is gone",)
    assert (result.complete, result.committed, result.sequence) == (False, False, 1)
    assert source.manifest().sequence == 1


def test_a_run_that_begins_again_reads_no_chunk_of_its_first_plan(source: Ingestion) -> None:
    source.run(seconds_left=time_for(CHUNKS))
    source.execute("update orders set note = 'changed'", "vacuum (full) orders")
    source.run(seconds_left=time_for(2))

    source.run()

    assert {row["note"] for row in source.taken("orders")} == {"changed"}
    assert ids(source) == list(range(1, ROWS + 1))


def test_a_half_done_run_of_the_first_version_begins_again(source: Ingestion) -> None:
    for name, document in PROGRESS_OF_THE_FIRST_VERSION.items():
        source.client.put_object(
            Bucket=source.bucket,
            Key=f"progress/a-run/{name}",
            Body=json.dumps(document).encode(),
        )
    source.run(seconds_left=time_for(CHUNKS - 1))

    source.run()

    assert ids(source) == list(range(1, ROWS + 1))
    assert source.taken("design") == [{"id": 1}]


def test_a_joined_table_is_always_of_one_snapshot(source: Ingestion) -> None:
    joined = source.joining("orders")
    joined.run(seconds_left=time_for(3))
    source.execute("update orders set note = 'changed'")

    joined.run()

    assert {row["note"] for row in source.taken("orders")} == {"changed"}


def test_a_source_that_cannot_prove_it_was_the_same_instant_is_not_verified(
    source: Ingestion,
) -> None:
    source.run(seconds_left=time_for(3), verify=True)

    result = source.run(verify=True)

    assert result.complete
    assert result.fingerprints is None


def test_parts_that_do_not_fit_into_memory_are_taken_in_halves(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion.execute(
        "create table large (id integer primary key, note text)",
        "insert into large select n, repeat(md5(n::text), 31250) from generate_series(1, 400) as n",
    )

    ingestion.run()

    capture = ingestion.manifest().tables["large"]
    assert len(capture.files) > 1
    rows = {row["id"]: len(row["note"]) for row in ingestion.taken("large")}
    assert rows == dict.fromkeys(range(1, 401), 1_000_000)


def test_readers_end_their_sessions(source: Ingestion) -> None:
    source.run(readers=2)

    # The server ends a session a moment after its connection.
    others = (
        "select pid from pg_stat_activity where datname = current_database() "
        "and backend_type = 'client backend' and pid <> pg_backend_pid()"
    )
    with psycopg.connect(source.dsn, autocommit=True) as connection:
        wait_until(lambda: not connection.execute(others).fetchone())


@pytest.fixture
def giant(ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch) -> Ingestion:
    """A table with a row that a reader's memory does not hold, and small ones around it."""
    monkeypatch.setattr(source_reader, "_MEMORY", "40MB")
    ingestion.execute(
        "create table giant (id integer primary key, note text)",
        "insert into giant values (1, 'a'), (2, repeat('x', 60000000)), (3, 'b')",
    )
    return ingestion


def test_a_row_that_does_not_fit_is_given_more_memory(giant: Ingestion) -> None:
    giant.run()

    assert {row["id"]: len(row["note"]) for row in giant.taken("giant")} == {
        1: 1,
        2: 60_000_000,
        3: 1,
    }


def test_a_row_that_fits_into_no_memory_is_named_with_what_to_do(
    giant: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_reader, "_ALL_MEMORY", "41MB")

    result = giant.run()

    assert "it has a row that is too large" in not_taken(result)["giant"]


@pytest.mark.parametrize("is_large", [True, False])
def test_a_row_that_comes_and_goes_between_the_snapshots_of_a_run_is_not_kept(
    source: Ingestion, monkeypatch: pytest.MonkeyPatch, *, is_large: bool
) -> None:
    monkeypatch.setattr(change_capture, "LARGE_TABLE_BYTES", 0 if is_large else 2**40)
    source.run()
    source.execute("update orders set note = 'new' where id = 1", FLUSH)
    source.run(seconds_left=time_for(1))
    source.execute("insert into orders values (3001, 'passing')", FLUSH)
    source.run()
    brought = {row["id"] for row in source.taken("orders")}
    source.execute("delete from orders where id = 3001", FLUSH)

    source.run()
    entry = source.manifest().tables["orders"]
    keys = source.files(entry.key_files)
    source.execute("update orders set note = 'newer' where id = 1", FLUSH)
    source.run()

    assert 3001 in brought
    assert {row["id"] for row in keys} == set(range(1, ROWS + 1))
    assert not source.manifest().tables["orders"].keys_swept
