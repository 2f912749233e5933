"""A run that version 2703f70 left half done, and the raw zone that it left."""

from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from pipeline.manifest import Capture, ManifestStore
from star_schema.tables import joined_sources, star_tables
from tests.integration.ingest.ingestion import Ingestion

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HALF_DONE = "half-done"
Rows = dict[Any, dict[str, str]]
NOT_HELD: LiteralString = "purchase_order_id = 7"
"""The row that the raw zone cannot hold as it is."""


@pytest.fixture
def installed(installed_source: str, installed_raw_bucket: str, s3: "S3Client") -> Ingestion:
    """The recorded source and raw zone, for the ingests of today."""
    return Ingestion(
        installed_source, installed_raw_bucket, s3, joined=joined_sources(star_tables())
    )


def captured(installed: Ingestion) -> dict[str, Rows]:
    """Returns the rows by table and key, as all runs together leave them."""
    store = ManifestStore(installed.bucket, installed.client)
    state: dict[str, Rows] = {}
    for sequence in range(1, installed.manifest().sequence + 1):
        for name, table in store.read(sequence).tables.items():
            key = f"{name}_id"
            rows = {row[key]: as_text(row) for row in installed.files(table.files)}
            if table.capture is Capture.WHOLE and not table.not_held:
                state[name] = {}
            state.setdefault(name, {}).update(rows)
            if table.key_files:
                keys = {row[key] for row in installed.files(table.key_files)}
                state[name] = {k: row for k, row in state[name].items() if k in keys}
    return state


def in_source(installed: Ingestion) -> dict[str, Rows]:
    with psycopg.connect(installed.dsn, row_factory=dict_row) as connection:
        return {
            name: {row[f"{name}_id"]: as_text(row) for row in rows_of(connection, name)}
            for name in installed.manifest().tables
        }


def rows_of(connection: psycopg.Connection[dict[str, Any]], table: str) -> list[dict[str, Any]]:
    held = sql.SQL(f"not ({NOT_HELD})" if table == "purchase_order" else "true")
    query = sql.SQL("select * from {} where {}").format(sql.Identifier(table), held)
    return connection.execute(query).fetchall()


def as_text(row: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in row.items()}


def test_a_run_that_was_half_done_ends_and_nothing_of_it_or_after_it_is_lost(
    installed: Ingestion,
) -> None:
    before = installed.objects()
    assert any(key.startswith(f"progress/{HALF_DONE}/chunks/") for key in before)

    ended = installed.run(run_id=HALF_DONE)
    after = installed.run(run_id="after")

    assert (ended.complete, ended.committed, ended.sequence) == (True, True, 5)
    assert after.complete
    found = captured(installed)
    del found["purchase_order"][7]
    assert found == in_source(installed)


def test_the_next_run_of_another_name_takes_only_what_changed(installed: Ingestion) -> None:
    sizes = {name: len(rows) for name, rows in in_source(installed).items()}

    result = installed.run(run_id="another")

    assert (result.committed, result.sequence) == (True, 5)
    tables = installed.manifest().tables
    assert {name for name, table in tables.items() if table.capture is Capture.WHOLE} <= {"address"}
    assert 0 < tables["payment"].rows < sizes["payment"] / 2
    assert 0 < tables["sales_order"].rows < sizes["sales_order"] / 2


def test_what_the_raw_zone_held_stays_as_it_was(installed: Ingestion) -> None:
    before = {k: tag for k, tag in installed.objects().items() if k.startswith(("raw", "runs"))}

    installed.run(run_id="another")

    assert before.items() < installed.objects().items()
