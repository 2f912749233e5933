"""A definition that changes what values print takes the table whole, at any depth."""

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
