"""Rows that no capture has brought take their table whole; insertions alone sweep nothing."""

import dataclasses
from typing import Any

import pytest

from pipeline.manifest import Capture, key_of
from tests.integration.ingest.ingestion import Ingestion, captures

DIGEST = "select count(*) || ':' || coalesce(sum(hashtextextended(row(id)::text, 0)), 0) from notes"
"""The digest of the first release."""


@pytest.fixture
def notes(ingestion: Ingestion) -> Ingestion:
    """A source of five notes, which a first run has taken."""
    ingestion.execute(
        "create table notes (id integer primary key, note text)",
        "insert into notes select n, 'old' from generate_series(1, 5) as n",
    )
    ingestion.run()
    return ingestion


def hide(notes: Ingestion, condition: str) -> None:
    """Stores the last run as if a policy had hidden the rows that meet a condition from it."""
    with notes.connect() as connection:
        found = connection.execute(f"{DIGEST} where not ({condition})".encode()).fetchone()
    assert found is not None
    run = notes.manifest()
    table = dataclasses.replace(run.tables["notes"], content_digest=found[0])
    text = dataclasses.replace(run, tables={"notes": table}).to_json()
    notes.client.put_object(Bucket=notes.bucket, Key=key_of(run.sequence), Body=text.encode())
    notes.execute("select pg_current_xact_id()")


@pytest.mark.parametrize(
    ("hidden", "meanwhile"),
    [
        ("true", "select"),
        ("id = 3", "select"),
        ("id = 3", "insert into notes values (6, 'new')"),
        ("id > 2", "insert into notes values (6, 'new'); update notes set note = '' where id = 1"),
        ("id > 2", "delete from notes where id = 1"),
        ("id = 3", "delete from notes where id = 1"),
        ("id = 3", "update notes set note = '' where id = 1"),
    ],
)
def test_rows_that_appear_without_having_been_written_take_the_table_whole(
    notes: Ingestion, hidden: str, meanwhile: Any
) -> None:
    hide(notes, hidden)
    notes.execute(meanwhile)

    result = notes.run()

    assert result.warnings == (
        "table notes shows rows that were not written since its last capture and that no capture "
        "has brought (a policy or a right was changed, or rows were restored): the table was "
        "captured whole",
    )
    with notes.connect() as connection:
        rows = connection.execute("select id from notes order by id").fetchall()
    assert sorted((row["id"],) for row in notes.taken("notes")) == rows
    assert not notes.run().committed


def test_a_digest_of_the_first_release_goes_on_incrementally(notes: Ingestion) -> None:
    hide(notes, "false")
    notes.execute("insert into notes values (6, 'new')")

    assert captures(notes.run()) == {"notes": (Capture.CHANGES, 1)}


@pytest.mark.parametrize(
    "statement",
    [
        "insert into notes values (6, 'new'), (7, 'new')",
        "update notes set note = 'changed' where id > 2",
        "update notes set note = 'changed'",
    ],
)
def test_insertions_alone_and_updates_alone_sweep_no_keys(notes: Ingestion, statement: Any) -> None:
    notes.execute(statement)

    notes.run()

    assert notes.manifest().tables["notes"].rows > 0
    assert not notes.manifest().tables["notes"].keys_swept


@pytest.mark.parametrize(
    "statement",
    [
        "delete from notes where id = 2",
        "delete from notes where id = 2; insert into notes values (6, 'new')",
        "update notes set id = 7 where id = 2",
    ],
)
def test_keys_that_went_are_swept(notes: Ingestion, statement: Any) -> None:
    notes.execute(statement)

    notes.run()

    assert 2 not in {row["id"] for row in notes.swept("notes")}
