"""Keys are swept only where the rows that were captured do not explain them."""

import dataclasses
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from lambdas.ingest import change_capture, source_reader
from lambdas.ingest.source_reader import SourceReader
from pipeline.manifest import Capture, key_of
from pipeline.secret import Login
from tests.integration.ingest.ingestion import Ingestion, captures

Key = tuple[Any, ...]
SIZES = {"small": 2**40, "large": 0}
"""The size above which a table counts as large."""


@pytest.fixture(params=SIZES)
def source(
    ingestion: Ingestion, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Ingestion:
    """A source of nine notes in a table of either size, which a first run has taken."""
    monkeypatch.setattr(change_capture, "LARGE_TABLE_BYTES", SIZES[request.param])
    ingestion.execute(
        "create table notes (id bigint primary key, note text)",
        "insert into notes select 10 * n, 'old' from generate_series(1, 9) as n",
        "select pg_stat_force_next_flush()",
    )
    ingestion.run()
    return ingestion


def change(source: Ingestion, statements: str) -> None:
    """Runs statements in one transaction, which the counters show at once."""
    with source.connect() as connection:
        connection.execute(statements.encode())
        connection.commit()
        connection.execute("select pg_stat_force_next_flush()")


EXPLAINED = {
    "insertions": "insert into notes values (100, 'new'), (101, 'new')",
    "insertions below": "insert into notes values (1, 'new')",
    "updates": "update notes set note = 'changed' where id > 50",
    "both": "insert into notes values (100, 'new'); update notes set note = '' where id < 50",
    "a row that goes and comes": "delete from notes where id = 20;"
    "insert into notes values (20, 'b')",
    "swapped keys": "update notes set id = case id when 20 then -30 else -20 end "
    "where id in (20, 30); update notes set id = -id where id < 0",
}
UNEXPLAINED = {
    "a deletion": "delete from notes where id = 20",
    "a deletion and an insertion": "delete from notes where id = 20;"
    "insert into notes values (99, '')",
    "a deletion and an insertion below": "delete from notes where id = 20;"
    "insert into notes values (21, '')",
    "a deletion and an update": "delete from notes where id = 20; update notes set note = ''",
    "a key that grows": "update notes set id = 100 where id = 20",
    "a key that moves": "update notes set id = 21 where id = 20",
    "the greatest key that goes": "delete from notes where id = 90;"
    "insert into notes values (91, '')",
    "no row that stays": "delete from notes",
}


@pytest.mark.parametrize("kind", EXPLAINED)
def test_changes_that_leave_every_key_sweep_none(source: Ingestion, kind: str) -> None:
    change(source, EXPLAINED[kind])

    source.run()

    assert not source.manifest().tables["notes"].keys_swept


@pytest.mark.parametrize("kind", UNEXPLAINED)
def test_a_key_that_is_gone_has_the_keys_swept(source: Ingestion, kind: str) -> None:
    change(source, UNEXPLAINED[kind])

    source.run()

    with source.connect() as connection:
        keys = connection.execute("select id from notes order by id").fetchall()
    assert sorted((row["id"],) for row in source.swept("notes")) == keys


def test_keys_are_counted_and_swept_by_the_connection_that_reads_rows(
    source: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[SourceReader] = []
    attach = SourceReader._attach

    def counted(reader: SourceReader, login: Login) -> None:
        readers.append(reader)
        attach(reader, login)

    monkeypatch.setattr(SourceReader, "_attach", counted)
    monkeypatch.delattr(source_reader, "open_connection")
    change(source, "delete from notes where id = 20; update notes set note = '' where id > 50")

    source.run()

    assert len(source.taken("notes")) == 4
    assert len(source.swept("notes")) == 8
    assert len(readers) == 1


@pytest.mark.parametrize(("updated", "is_swept"), [(10, False), (100, True)])
def test_a_key_below_the_greatest_that_commits_late_is_not_lost(
    source: Ingestion, updated: int, *, is_swept: bool
) -> None:
    with source.connect() as late:
        late.execute("insert into notes values (95, 'late')")
        change(source, "insert into notes values (100, 'new')")
        source.run()
        late.commit()
        late.execute("select pg_stat_force_next_flush()")
        change(source, f"update notes set note = 'changed' where id = {updated}")

        source.run()

    assert {row["id"] for row in source.taken("notes")} == {updated, 95}
    assert source.manifest().tables["notes"].keys_swept is is_swept


def known(source: Ingestion, condition: str, *, greatest: tuple[int, ...] = (90,)) -> None:
    """Stores the last run as if it had known the keys that meet a condition alone."""
    query = (
        "select '1:' || count(*) || ':' || coalesce(sum(hashtextextended(row(id)::text, 0)), 0) "
        f"from notes where {condition}"
    )
    with source.connect() as connection:
        found = connection.execute(query.encode()).fetchone()
    assert found is not None
    run = source.manifest()
    table = dataclasses.replace(
        run.tables["notes"], content_digest=found[0], greatest_keys=greatest
    )
    text = dataclasses.replace(run, tables={"notes": table}).to_json()
    source.client.put_object(Bucket=source.bucket, Key=key_of(run.sequence), Body=text.encode())


def test_rows_of_a_table_of_any_size_that_no_capture_brought_take_it_whole(
    source: Ingestion,
) -> None:
    known(source, "id <> 30")
    change(source, "update notes set note = 'changed' where id = 10")

    first = source.run()
    second = source.run()

    (warning,) = first.warnings
    assert warning.startswith("table notes shows rows that were not written since")
    whole = [captures(run)["notes"] for run in (first, second)]
    assert (Capture.WHOLE, 9) in whole
    assert not source.run().committed


@pytest.mark.parametrize("greatest", [(), (0,), (55,), (10**6,), (35, 90)])
def test_whatever_greatest_key_is_stored_no_deletion_is_missed(
    source: Ingestion, greatest: tuple[int, ...]
) -> None:
    known(source, "true", greatest=greatest)
    change(
        source,
        "delete from notes where id = 20; insert into notes values (15, ''), (200, '');"
        "update notes set note = '' where id in (40, 60)",
    )

    source.run()

    assert 20 not in {row["id"] for row in source.swept("notes")}


KINDS: dict[str, tuple[str, str, Callable[[int], Key]]] = {
    "integer": ("id integer primary key", "id", lambda n: (n,)),
    "bigint": ("id bigint primary key", "id", lambda n: (n << 32 | 1,)),
    "text": ("id text primary key", "id", lambda n: (f"key {n}",)),
    "uuid": ("id uuid primary key", "id", lambda n: (str(uuid.UUID(int=n * 2**64)),)),
    "composite": ("a integer, b text, primary key (b, a)", "a, b", lambda n: (n % 3, f"b{n}")),
}
NUMBERS = st.integers(1, 12)
CHANGES = st.one_of(
    st.tuples(st.sampled_from(["append", "late append", "commit", "roll back", "run"])),
    st.tuples(st.sampled_from(["insert", "update", "delete", "replace"]), NUMBERS),
    st.tuples(st.just("change key"), NUMBERS, NUMBERS),
)


class Table:
    """A table with changes from several sessions, and what all captures of it give together."""

    def __init__(self, source: Ingestion, kind: str) -> None:
        definition, columns, self._key = KINDS[kind]
        self._source = source
        self._columns = [sql.Identifier(name) for name in columns.split(", ")]
        self._next = 12
        self._late: psycopg.Connection | None = None
        self._state: dict[str, str] = {}
        self._own = source.connect()
        self._own.autocommit = True
        self._own.execute("set lock_timeout = 1")
        self._own.execute("drop table if exists kept")
        self._own.execute(f"create table kept ({definition}, note text)".encode())
        self.run()

    def do(self, name: str, *numbers: int) -> None:
        """Does one change."""
        getattr(self, f"_{name.replace(' ', '_')}")(*numbers)

    def run(self) -> None:
        """Runs an ingest, and applies what it captured."""
        if self._source.run().committed:
            entry = self._source.manifest().tables["kept"]
            rows = {self._named(row): row["note"] for row in self._source.taken("kept")}
            if entry.capture is Capture.WHOLE:
                self._state = {}
            elif entry.keys_swept:
                keys = {self._named(row) for row in self._source.swept("kept")}
                self._state = {key: note for key, note in self._state.items() if key in keys}
            self._state |= rows
        assert self._state == self._in_source()

    def end(self) -> None:
        """Ends the open transaction and the session."""
        self._commit()
        self.run()
        self._own.close()

    def _in_source(self) -> dict[str, str]:
        columns = sql.SQL(", ").join(self._columns)
        query = sql.SQL("select {}, note from kept").format(columns)
        rows = self._own.execute(query).fetchall()
        return {repr([str(one) for one in key]): note for *key, note in rows}

    def _named(self, row: dict[str, Any]) -> str:
        return repr([str(row[column._obj[0]]) for column in self._columns])

    def _execute(self, statement: str, *values: Any) -> None:
        with suppress(psycopg.errors.UniqueViolation, psycopg.errors.LockNotAvailable):
            self._own.execute(self._query(statement), values)
        self._own.execute("select pg_stat_force_next_flush()")

    def _query(self, statement: str) -> sql.Composed:
        marks = sql.SQL(", ").join([sql.Placeholder()] * len(self._columns))
        return sql.SQL(statement).format(key=sql.SQL(", ").join(self._columns), values=marks)

    def _insert(self, number: int) -> None:
        self._execute("insert into kept ({key}, note) values ({values}, 'new')", *self._key(number))

    def _append(self) -> None:
        self._next += 1
        self._insert(self._next)

    def _update(self, number: int) -> None:
        self._execute(
            "update kept set note = note || '.' where ({key}) = ({values})", *self._key(number)
        )

    def _delete(self, number: int) -> None:
        self._execute("delete from kept where ({key}) = ({values})", *self._key(number))

    def _replace(self, number: int) -> None:
        self._delete(number)
        self._insert(number)

    def _change_key(self, number: int, other: int) -> None:
        self._execute(
            "update kept set ({key}) = row({values}) where ({key}) = ({values})",
            *self._key(other),
            *self._key(number),
        )

    def _late_append(self) -> None:
        self._late = self._late or self._source.connect()
        self._next += 1
        query = self._query("insert into kept ({key}, note) values ({values}, 'late')")
        self._late.execute(query, self._key(self._next))

    def _commit(self) -> None:
        self._ended(lambda connection: connection.commit())

    def _roll_back(self) -> None:
        self._ended(lambda connection: connection.rollback())

    def _ended(self, how: Callable[[psycopg.Connection], None]) -> None:
        if self._late:
            how(self._late)
            self._late.execute("select pg_stat_force_next_flush()")
            self._late.close()
            self._late = None

    _run = run


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
@settings(
    max_examples=5,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes=st.lists(CHANGES, min_size=10, max_size=24))
def test_the_captures_of_any_changes_give_the_source(
    ingestion: Ingestion,
    kind: str,
    size: str,
    changes: list[tuple[str, *tuple[int, ...]]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(change_capture, "LARGE_TABLE_BYTES", SIZES[size])
        table = Table(ingestion, kind)
        for number, (name, *numbers) in enumerate(changes):
            table.do(name, *numbers)
            if number % 4 == 3:
                table.run()
        table.end()
