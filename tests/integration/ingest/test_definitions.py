"""A definition that changes what values print takes the table whole, at any depth."""

import uuid
from typing import LiteralString

import pytest

from pipeline.manifest import Capture
from tests.integration.ingest.ingestion import Ingestion, captures

MOOD = "create type mood as enum ('happy', 'sad')"
RENAMED = "alter type mood rename value 'happy' to 'glad'"


@pytest.mark.parametrize(
    ("types", "column", "value", "statement", "printed"),
    [
        ((MOOD,), "mood", "'happy'", RENAMED, "glad"),
        ((MOOD,), "mood[]", "'{happy,sad}'", RENAMED, "{glad,sad}"),
        ((MOOD, "create domain feeling as mood"), "feeling", "'happy'", RENAMED, "glad"),
        (
            (MOOD, "create domain feeling as mood", "create domain deep as feeling"),
            "deep[]",
            "'{happy}'",
            RENAMED,
            "{glad}",
        ),
        (
            (MOOD, "create type pair as (a integer, b mood[])"),
            "pair",
            "row(1, '{happy}'::mood[])",
            RENAMED,
            "(1,{glad})",
        ),
        (
            (MOOD, "create type moods as range (subtype = mood)"),
            "moods",
            "'[happy,sad]'",
            RENAMED,
            "[glad,sad]",
        ),
        (
            (MOOD, "create type moods as range (subtype = mood)"),
            "moods[]",
            "array[moods('happy', 'sad')]",
            RENAMED,
            '{"[glad,sad)"}',
        ),
        (
            ("create type pair as (a integer, b text)",),
            "pair",
            "row(1, 'x')",
            "alter type pair drop attribute b",
            "(1)",
        ),
        (
            ("create type pair as (a integer, b text)",),
            "pair[]",
            "array[row(1, 'x')::pair]",
            "alter type pair drop attribute b",
            "{(1)}",
        ),
    ],
)
def test_a_table_is_taken_whole_when_its_values_print_otherwise(
    ingestion: Ingestion,
    types: tuple[LiteralString, ...],
    column: LiteralString,
    value: LiteralString,
    statement: LiteralString,
    printed: str,
) -> None:
    ingestion.execute(
        *types,
        f"create table held (id integer primary key, value {column})",
        f"insert into held values (1, {value})",
        "create table other (id integer primary key, kind integer)",
    )
    ingestion.run()
    ingestion.execute(statement)

    result = ingestion.run()

    assert captures(result) == {"held": (Capture.WHOLE, 1), "other": (Capture.NONE, 0)}
    assert ingestion.taken("held") == [{"id": 1, "value": printed}]


FIRST = "create schema kept; create table kept.first (id integer primary key)"
PRINTED_NAMES: dict[str, tuple[LiteralString, LiteralString, LiteralString, str]] = {
    "regclass": (FIRST, "'kept.first'", "alter table kept.first rename to second", "kept.second"),
    "regclass[]": (
        FIRST,
        "array['kept.first'::regclass]",
        "alter schema kept rename to other_name",
        "{other_name.first}",
    ),
    "regtype": (
        "create type kind as enum ('a')",
        "'kind'",
        "alter type kind rename to sort",
        "sort",
    ),
    "regproc": (
        "create function one() returns integer language sql return 1",
        "'one'",
        "create function one(integer) returns integer language sql return 1",
        "public.one",
    ),
    "regprocedure": (
        "create type kind as enum ('a'); "
        "create function of(kind) returns integer language sql return 1",
        "'of(kind)'",
        "alter type kind rename to sort",
        "of(sort)",
    ),
    "regoperator": (
        "create schema kept; create operator kept.=== "
        "(leftarg = integer, rightarg = integer, function = int4eq)",
        "'kept.===(integer,integer)'",
        "alter schema kept rename to other_name",
        "other_name.===(integer,integer)",
    ),
    "regnamespace": ("create schema kept", "'kept'", "alter schema kept rename to n", "n"),
    "regconfig": (
        "create text search configuration own (copy = simple)",
        "'own'",
        "alter text search configuration own rename to others",
        "others",
    ),
    "regdictionary": (
        "create text search dictionary own (template = simple)",
        "'own'",
        "alter text search dictionary own rename to others",
        "others",
    ),
    "regcollation": (
        "create collation own (locale = 'C')",
        "'own'",
        "alter collation own rename to others",
        "others",
    ),
    "domain_of_names": (
        f"{FIRST}; create domain domain_of_names as regclass",
        "'kept.first'",
        "alter table kept.first rename to second",
        "kept.second",
    ),
    "composite": (
        f"{FIRST}; create type composite as (a integer, b regclass[])",
        "row(1, array['kept.first'::regclass])",
        "alter table kept.first rename to second",
        "(1,{kept.second})",
    ),
}


@pytest.mark.parametrize("kind", PRINTED_NAMES)
def test_a_table_is_taken_whole_when_an_object_that_its_values_name_is_renamed(
    ingestion: Ingestion, kind: LiteralString
) -> None:
    objects, value, statement, printed = PRINTED_NAMES[kind]
    ingestion.execute(
        objects,
        f"create table held (id integer primary key, value {kind})",
        f"insert into held values (1, {value})",
        "create table other (id integer primary key, kind integer)",
    )
    ingestion.run()
    ingestion.execute(statement)

    result = ingestion.run()

    assert captures(result) == {"held": (Capture.WHOLE, 1), "other": (Capture.NONE, 0)}
    assert ingestion.taken("held") == [{"id": 1, "value": printed}]
    assert not ingestion.run().committed


def test_a_dropped_object_is_the_number_that_postgresql_prints(ingestion: Ingestion) -> None:
    ingestion.execute(
        "create schema kept; create table kept.first ()",
        "create table held (id integer primary key, value regclass)",
        "insert into held values (1, 'kept.first')",
    )
    ingestion.run()
    ingestion.execute("drop table kept.first")

    ingestion.run()

    assert ingestion.taken("held")[0]["value"].isdecimal()


@pytest.mark.parametrize(
    ("kind", "value", "printed"),
    [("regrole", "'{0}'", "{0}_b"), ("aclitem", "'{0}=r/{0}'", "{0}_b=r/{0}_b")],
)
def test_a_renamed_role_takes_the_tables_whole_whose_values_name_it(
    ingestion: Ingestion, kind: str, value: str, printed: str
) -> None:
    role = f"role_{uuid.uuid4().hex[:8]}"

    def execute(statement: str) -> None:
        with ingestion.connect() as connection:
            connection.execute(statement.format(role).encode())

    execute("create role {0}")
    try:
        execute(f"create table held as select 1 as id, {value}::{kind} as value")
        ingestion.run()
        execute("alter role {0} rename to {0}_b")

        ingestion.run()
    finally:
        execute("drop role {0}_b")

    assert ingestion.taken("held") == [{"id": 1, "value": printed.format(role)}]


def test_temporary_objects_take_no_table_whole(ingestion: Ingestion) -> None:
    ingestion.execute("create table held (id integer primary key, value regclass, kind regtype)")
    ingestion.run()
    with ingestion.connect() as connection:
        connection.execute("create temporary table passing (id integer)")
        connection.commit()

        result = ingestion.run()

    assert not result.committed
