"""A name that cannot be converted to UTF-8 costs its table alone, and is shown escaped."""

from datetime import timedelta

import psycopg
import pytest

from lambdas.ingest import open_transactions
from lambdas.ingest.scope import Scope
from tests.integration.ingest.ingestion import Encoded, Ingestion, captures, not_taken

BAD = {"SQL_ASCII": b"caf\xe9", "WIN1252": b"caf\x81"}
SOUND: dict[str, bytes] = {
    "sound": b"create table sound (id integer primary key, note text)",
    "parts": b"""create table parts (id integer primary key) partition by range (id);
        create table parts_1 partition of parts for values from (0) to (10)""",
    "of a domain": b"""create domain "domain NAME" as integer;
        create table "of a domain" (id integer primary key, value "domain NAME")""",
    "of an enumeration": b"""create type mood as enum ('sad', 'NAME');
        create table "of an enumeration" (id integer primary key, value mood)""",
    "with an index": b"""create table "with an index" (id integer, value text,
        constraint "index NAME" primary key (id))""",
}
BROKEN: dict[str, tuple[bytes, str]] = {
    "NAME": (b'create table "NAME" (id integer primary key)', "its name NAME"),
    "a column": (
        b'create table "a column" (id integer primary key, "x NAME" text)',
        "the name of its column x NAME",
    ),
    "a key": (
        b'create table "a key" ("NAME" integer primary key)',
        "the name of its column NAME",
    ),
    "a type": (
        b"""create type "kind NAME" as enum ('a');
        create table "a type" (id integer primary key, value "kind NAME"[])""",
        'the name of its type "kind NAME"[]',
    ),
    "a partition": (
        b"""create table "a partition" (id integer primary key) partition by range (id);
        create table "part NAME" partition of "a partition" for values from (0) to (10)""",
        "the name of its part part NAME",
    ),
    "a partition elsewhere": (
        b"""create schema "schema NAME";
        create table "a partition elsewhere" (id integer primary key) partition by range (id);
        create table "schema NAME".part partition of "a partition elsewhere" default""",
        "the name of its schema schema NAME",
    ),
}
ROWS = b"insert into sound values (1, 'a'); insert into parts values (1)"


def execute(source: Ingestion, encoding: str, statements: bytes) -> None:
    """Runs statements in the source's own encoding, with the bad name for NAME."""
    with psycopg.connect(source.dsn, client_encoding=encoding) as connection:
        connection.execute(statements.replace(b"NAME", BAD[encoding]))


def escaped(text: str, encoding: str) -> str:
    """Returns a text as messages show it."""
    return text.replace("NAME", BAD[encoding].decode(errors="backslashreplace"))


@pytest.mark.parametrize("encoding", BAD)
def test_a_name_that_is_not_utf8_costs_its_table_alone(encoded: Encoded, encoding: str) -> None:
    with encoded(encoding) as source:
        for statement in (*SOUND.values(), *(statement for statement, _ in BROKEN.values()), ROWS):
            execute(source, encoding, statement)

        result = source.run(readers=2)
        execute(source, encoding, b"update sound set note = 'b'")
        again = source.run(scope=Scope(tables_left_out=("caf*", "a *")))

        assert not_taken(result) == {
            escaped(name, encoding): escaped(
                f"{words} is not UTF-8; rename that, or leave the table out", encoding
            )
            for name, (_, words) in BROKEN.items()
        }
        assert {name for name, (capture, _) in captures(result).items() if capture} >= {*SOUND}
        assert source.manifest().tables.keys() == SOUND.keys()
        assert (not_taken(again), again.rows) == ({}, 1)
        assert source.taken("sound") == [{"id": 1, "note": "b"}]


def test_a_table_whose_name_became_unreadable_is_not_taken_and_the_others_go_on(
    encoded: Encoded,
) -> None:
    with encoded("SQL_ASCII") as source:
        execute(source, "SQL_ASCII", b"".join([SOUND["sound"], b";", SOUND["parts"], b";", ROWS]))
        source.run()
        execute(
            source,
            "SQL_ASCII",
            b'alter table sound rename note to "NAME"; insert into parts values (2)',
        )

        result = source.run()
        kept = source.manifest().tables["sound"]
        execute(source, "SQL_ASCII", b'alter table sound rename "NAME" to text')
        again = source.run()

        assert list(not_taken(result)) == ["sound"]
        assert (kept.changed_in, result.rows) == (1, 1)
        assert source.taken("sound") == [{"id": 1, "text": "a"}]
        assert not_taken(again) == {}


def test_a_label_that_is_not_utf8_costs_its_row_alone(encoded: Encoded) -> None:
    with encoded("SQL_ASCII") as source:
        execute(
            source,
            "SQL_ASCII",
            SOUND["of an enumeration"]
            + b""";insert into "of an enumeration" values (1, 'sad'), (2, 'NAME')""",
        )

        result = source.run()

        (waiting,) = source.files(source.manifest().tables["of an enumeration"].quarantine_files)
        assert not_taken(result) == {}
        assert source.taken("of an enumeration") == [{"id": 1, "value": "sad"}]
        assert waiting["value"] == "caf\\xe9"


def test_keys_that_are_equal_and_not_utf8_are_shown_escaped(encoded: Encoded) -> None:
    with encoded("SQL_ASCII") as source:
        execute(
            source,
            "SQL_ASCII",
            b"""create table parent (id text primary key);
            create table child () inherits (parent);
            insert into parent values ('NAME'); insert into child values ('NAME')""",
        )

        result = source.run()

        assert "it has 2 rows with id 'caf\\\\xe9'" in not_taken(result)["parent"]


def test_a_session_whose_role_has_such_a_name_stops_nothing(
    encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_transactions, "LONG", timedelta())
    with encoded("SQL_ASCII") as source:
        execute(source, "SQL_ASCII", SOUND["sound"])
        source.run()
        try:
            with psycopg.connect(source.dsn, client_encoding="sql_ascii") as connection:
                connection.execute(b'create role "caf\xe9"; grant all on sound to "caf\xe9"')
            with psycopg.connect(source.dsn, client_encoding="sql_ascii") as holder:
                holder.execute(b'set session authorization "caf\xe9"')
                holder.execute("insert into sound values (1)")
                result = source.run()
                holder.rollback()
        finally:
            execute(source, "SQL_ASCII", b'drop owned by "NAME"; drop role "NAME"')

        assert not_taken(result) == {}
