"""A table that cannot be planned or read costs no other table, and stays where it was."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from lambdas.ingest import unreadable
from pipeline.errors import SourceBusy
from pipeline.manifest import Capture
from tests.integration.ingest.ingestion import Encoded, Ingestion, captures, not_taken

SOUND = (
    "create table sound (id integer primary key, name text)",
    "insert into sound values (1, 'a'), (2, 'b')",
)
BROKEN: dict[str, tuple[LiteralString, ...]] = {
    "no right": (
        "create table broken (id integer primary key)",
        "revoke all on broken from reader",
    ),
    "a right to one column": (
        "create table broken (id integer primary key, secret text)",
        "revoke all on broken from reader",
        "grant select (id) on broken to reader",
    ),
    "a policy": (
        "create table broken (id integer primary key)",
        "insert into broken values (1)",
        "alter table broken enable row level security",
    ),
    "a policy that fails": (
        "create table broken (id integer primary key)",
        "create policy odd on broken using (1 / (id - id) = 1)",
        "alter table broken enable row level security",
    ),
    "a policy of the partitioned table": (
        "create table broken (id integer primary key) partition by range (id)",
        "create table broken_1 partition of broken for values from (0) to (10)",
        "insert into broken values (1)",
        "alter table broken enable row level security",
    ),
    "no right to the partitioned table": (
        "create table broken (id integer primary key) partition by range (id)",
        "create table broken_1 partition of broken for values from (0) to (10)",
        "insert into broken values (1)",
        "revoke all on broken from reader",
    ),
    "no columns": ("create table broken ()", "insert into broken default values"),
    "no right to a function of a policy": (
        "create table broken (id integer primary key)",
        "create function hidden() returns boolean language sql as 'select true'",
        "revoke all on function hidden() from public",
        "create policy odd on broken using (hidden())",
        "alter table broken enable row level security",
    ),
    "more rows that fail than can be set aside": (
        "create table broken (id integer primary key, "
        "share integer generated always as (1 / (id - id)) virtual)",
        "insert into broken select generate_series(1, 1001)",
    ),
    "a key that fails": (
        "create table broken (id integer, other integer primary key, "
        "share integer generated always as (1 / id) virtual)",
        "alter table broken drop constraint broken_pkey",
        "insert into broken select 0, n from generate_series(1, 1002) as n",
    ),
    "a lock": ("create table broken (id integer primary key)",),
}
LOCKED = "a lock"


@pytest.fixture
def reader(ingestion: Ingestion, hurried: None) -> Iterator[Ingestion]:
    """The source for a role of the name `reader`, which may read the tables of its owner."""
    ingestion.execute(
        "create role reader login password 'secret'",
        "alter default privileges in schema public grant select on tables to reader",
    )
    dsn = make_conninfo(ingestion.dsn, user="reader", password="secret")
    yield dataclasses.replace(ingestion, dsn=dsn)
    ingestion.execute("drop owned by reader", "drop role reader")


@contextmanager
def broken(ingestion: Ingestion, kind: str) -> Iterator[None]:
    """Makes a table that cannot be read."""
    ingestion.execute(*BROKEN[kind])
    with ingestion.connect() as locker:
        if kind == LOCKED:
            locker.execute("lock table broken in access exclusive mode")
        yield


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_table_is_named_with_its_reason_and_the_others_are_taken(
    ingestion: Ingestion, reader: Ingestion, kind: str
) -> None:
    ingestion.execute(*SOUND)
    with broken(ingestion, kind):
        result = reader.run()

    assert result.committed
    assert list(not_taken(result)) == ["broken"]
    assert not_taken(result)["broken"].count("; ") >= 1
    assert list(reader.manifest().tables) == ["sound"]
    assert len(reader.taken("sound")) == 2
    assert result.warnings == ()


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_table_that_changes_nothing_commits_no_further_run(
    ingestion: Ingestion, reader: Ingestion, kind: str
) -> None:
    ingestion.execute(*SOUND)
    with broken(ingestion, kind):
        reader.run()
        ingestion.execute("create table elsewhere ()", "drop table elsewhere")

        again = reader.run()

    assert not again.committed
    assert list(not_taken(again)) == ["broken"]


def test_the_cursor_of_a_table_that_is_not_taken_does_not_move(
    ingestion: Ingestion, reader: Ingestion
) -> None:
    ingestion.execute(*SOUND, "create table other (id integer)")
    reader.run()
    before = reader.manifest().tables["sound"]
    ingestion.execute(
        "revoke all on sound from reader",
        "update sound set name = 'c' where id = 1",
        "delete from sound where id = 2",
        "alter table sound add column more integer",
        "insert into other values (1)",
    )

    result = reader.run()
    kept = reader.manifest().tables["sound"]
    ingestion.execute("insert into other values (2)")
    reader.run()
    assert reader.manifest().tables["sound"].not_taken_since == kept.not_taken_since == 2
    ingestion.execute("grant select on sound to reader")
    again = reader.run()
    assert reader.manifest().tables["sound"].not_taken_since == 0

    assert "42501: permission denied" in kept.not_taken
    assert not_taken(result) == {"sound": kept.not_taken}
    assert (kept.horizon, kept.statistics, kept.content_digest, kept.columns) == (
        before.horizon,
        before.statistics,
        before.content_digest,
        before.columns,
    )
    assert (kept.changed_in, kept.capture, kept.files) == (1, Capture.NONE, ())
    assert captures(result)["other"] == (Capture.WHOLE, 1)
    assert again.warnings == ("column sound.more is new",)
    assert reader.manifest().tables["sound"].not_taken == ""
    assert reader.taken("sound") == [{"id": 1, "name": "c", "more": None}]


def test_a_table_that_can_be_read_again_and_has_not_changed_says_so(
    ingestion: Ingestion, reader: Ingestion
) -> None:
    ingestion.execute(*SOUND, "create table other (id integer)")
    reader.run()
    ingestion.execute("revoke all on sound from reader", "insert into other values (1)")
    reader.run()
    ingestion.execute("grant select on sound to reader")

    again = reader.run()

    assert again.committed
    assert not_taken(again) == {}
    assert reader.manifest().tables["sound"].not_taken == ""


def test_a_lock_is_first_tried_again(ingestion: Ingestion, reader: Ingestion) -> None:
    with broken(ingestion, LOCKED), pytest.raises(SourceBusy, match=r"table broken .*55P03"):
        reader.run(is_last_attempt=False)

    assert not reader.objects()


def test_policies_hide_nothing_in_silence_from_the_owner_either(
    ingestion: Ingestion, reader: Ingestion
) -> None:
    ingestion.execute("grant create on schema public to reader")
    reader.execute(
        "create table owned (id integer primary key)",
        "insert into owned values (1)",
        "alter table owned enable row level security",
    )
    assert reader.run().rows == 1
    reader.execute("alter table owned force row level security")

    result = reader.run()

    assert "row-level security" in not_taken(result)["owned"]
    assert reader.manifest().tables["owned"].not_taken or not result.committed


def test_rows_that_cannot_be_read_wait_in_the_quarantine(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unreadable, "MOST_UNREADABLE", 3)
    ingestion.execute(
        "create table shares (id integer primary key, total integer, note text, "
        "share integer generated always as (100 / total) virtual)",
        "insert into shares select n, n % 500, 'n' || n from generate_series(1, 1600) as n",
    )

    result = ingestion.run()

    capture = ingestion.manifest().tables["shares"]
    waiting = ingestion.files(capture.quarantine_files)
    assert not_taken(result) == {}
    assert sorted(row["id"] for row in ingestion.taken("shares")) == [
        n for n in range(1, 1601) if n % 500
    ]
    assert [json.loads(row["primary_key"]) for row in waiting] == [
        {"id": "500"},
        {"id": "1000"},
        {"id": "1500"},
    ]
    assert {row["column_name"] for row in waiting} == {"share"}
    assert {row["reason"] for row in waiting} == {"22012: division by zero"}
    assert json.loads(waiting[0]["source_row"]) == {
        "id": "500",
        "total": "0",
        "note": "n500",
        "share": None,
    }
    assert capture.not_held == 3
    assert len(ingestion.swept("shares")) == 1600


def test_a_table_with_more_such_rows_than_can_be_set_aside_is_not_taken(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unreadable, "MOST_UNREADABLE", 3)
    ingestion.execute(
        "create table shares (id integer primary key, "
        "share integer generated always as (100 / (id % 4)) virtual)",
        "insert into shares select generate_series(1, 16)",
    )

    result = ingestion.run()

    assert "more than 3 of its rows cannot be read" in not_taken(result)["shares"]
    assert "22012: division by zero" in not_taken(result)["shares"]


def test_large_rows_that_cannot_be_read_wait_in_several_files(ingestion: Ingestion) -> None:
    ingestion.execute(
        *SOUND,
        "create table shares (id integer primary key, note text, "
        "share integer generated always as (100 / (id % 2)) virtual)",
        "insert into shares select n, repeat('x', 2000000) from generate_series(1, 240) as n",
    )

    result = ingestion.run()

    capture = ingestion.manifest().tables["shares"]
    keys = {
        json.loads(row["primary_key"])["id"] for row in ingestion.files(capture.quarantine_files)
    }
    assert not_taken(result) == {}
    assert (capture.rows, capture.not_held) == (120, 120)
    assert keys == {str(n) for n in range(2, 241, 2)}
    assert len(capture.quarantine_files) > 1


def test_rows_that_cannot_be_read_are_written_before_further_ones_are_read(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unreadable, "_GROUP_BYTES", 3000)
    ingestion.execute(
        "create table shares (id integer primary key, note text, "
        "share integer generated always as (100 / (id % 2)) virtual)",
        "insert into shares select n, repeat('x', 1000) from generate_series(1, 10) as n",
    )

    ingestion.run()

    files = ingestion.manifest().tables["shares"].quarantine_files
    waiting = [json.loads(row["primary_key"])["id"] for row in ingestion.files(files)]
    assert waiting == ["2", "4", "6", "8", "10"]
    assert [len(ingestion.files((key,))) for key in files] == [2, 2, 1]


@pytest.fixture
def ascii_source(encoded: Encoded) -> Iterator[Ingestion]:
    """A source whose database has no encoding."""
    with encoded("SQL_ASCII") as source:
        yield source


def test_a_byte_that_is_not_utf8_costs_its_row_alone(ascii_source: Ingestion) -> None:
    ascii_source.execute(
        *SOUND,
        "create table bytes (id integer primary key, note text)",
        "insert into bytes values (1, 'é'), (3, 'plain')",
    )
    with psycopg.connect(ascii_source.dsn, client_encoding="sql_ascii") as connection:
        connection.execute(b"insert into bytes values (2, 'caf\xe9')")

    result = ascii_source.run()

    (waiting,) = ascii_source.files(ascii_source.manifest().tables["bytes"].quarantine_files)
    assert not_taken(result) == {}
    assert ascii_source.taken("bytes") == [{"id": 1, "note": "é"}, {"id": 3, "note": "plain"}]
    assert (waiting["column_name"], waiting["value"]) == ("note", "caf\\xe9")
    assert waiting["reason"].startswith("22021: invalid byte sequence")


SHAPES: dict[str, tuple[LiteralString, ...]] = {
    **{kind: BROKEN[kind] for kind in BROKEN if kind != LOCKED},
    "sound": ("create table {0} (id integer primary key)", "insert into {0} values (1)"),
    "sound without a key": ("create table {0} (name text)", "insert into {0} values ('a')"),
    "sound and partitioned": (
        "create table {0} (id integer primary key) partition by list (id)",
        "create table {0}_rest partition of {0} default",
        "insert into {0} values (1)",
    ),
    "sound and empty": ("create table {0} (id integer primary key)",),
}


@settings(
    max_examples=12,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(kinds=st.lists(st.sampled_from(sorted(SHAPES)), min_size=2, max_size=6, unique=True))
def test_every_sound_table_is_taken_whatever_stands_beside_it(
    ingestion: Ingestion, reader: Ingestion, kinds: list[str]
) -> None:
    ingestion.execute("drop schema public cascade", "create schema public")
    ingestion.execute(
        "grant usage on schema public to reader",
        "alter default privileges in schema public grant select on tables to reader",
    )
    names = {f"table_{number}": kind for number, kind in enumerate(kinds)}
    for name, kind in names.items():
        with ingestion.connect() as connection:
            for statement in SHAPES[kind]:
                text = statement.replace("broken", name).format(name).replace("hidden", f"f_{name}")
                connection.execute(text.encode())

    result = reader.run(full_refresh=True)

    sound = {name for name, kind in names.items() if kind.startswith("sound")}
    assert set(not_taken(result)) == names.keys() - sound
    assert {name for name, (capture, _) in captures(result).items() if capture} >= sound
    assert sum(rows for _, rows in captures(result).values()) == sum(
        1 for name in sound if names[name] != "sound and empty"
    )
