"""Fingerprints of the star rows that a source makes, beside the star schema in plain Python."""

from dataclasses import replace
from typing import Any

import psycopg
import pytest

from lambdas.ingest import chunks, source_reader
from lambdas.ingest.ingest import IngestResult
from local.source.generate import create_and_fill
from pipeline.fingerprints import WAITS_IN_QUARANTINE, WAITS_IN_RAW_QUARANTINE, StarFingerprints
from star_schema.tables import star_tables
from tests.integration.ingest.ingestion import Ingestion
from tests.oracle.fingerprints import fingerprint
from tests.oracle.star import calendar, dimension_rows, fact_rows, mentioned_years

Rows = dict[Any, tuple[str | None, str | None]]


@pytest.fixture
def source(ingestion: Ingestion) -> Ingestion:
    """A business, and the star schema's tables."""
    create_and_fill(ingestion.dsn, scale=0.02)
    return replace(ingestion, stars=star_tables())


def fingerprints_of(result: IngestResult) -> dict[str, StarFingerprints]:
    assert result.fingerprints is not None
    return {one.table: one for one in result.fingerprints}


def rows_of(source: Ingestion, result: IngestResult) -> dict[str, Rows]:
    """Returns fingerprint and waiting place of each key, by star table."""
    return {
        table: {
            row["key"]: (row["fingerprint"], row["waits_in"]) for row in source.files(one.files)
        }
        for table, one in fingerprints_of(result).items()
    }


def wanted(source: Ingestion) -> dict[str, Rows]:
    """Returns what the source makes of every star table, in plain Python."""
    with psycopg.connect(source.dsn) as connection:
        facts, dimensions = fact_rows(connection), dimension_rows(connection)
    years = mentioned_years(facts)
    stars: dict[str, Any] = {**facts, **dimensions, "dim_date": calendar(years)}
    return {
        table: {
            key: (None, WAITS_IN_QUARANTINE)
            if row is None
            else (fingerprint(list(row.values())), None)
            for key, row in rows.items()
        }
        for table, rows in stars.items()
    }


def test_every_star_row_that_the_source_makes_has_its_fingerprint(source: Ingestion) -> None:
    source.execute(
        "alter table payment alter column payment_date drop not null",
        "update payment set payment_date = 'soon' where payment_id = 1",
        "update payment set payment_date = null where payment_id = 2",
        "update payment set payment_amount = 'NaN' where payment_id = 3",
        "update payment set payment_amount = -9999999999999999999999999999.0123456789 "
        "where payment_id = 4",
        "update payment set payment_amount = 1.500000000000 where payment_id = 5",
        "update payment set payment_amount = 0.00 where payment_id = 6",
        "update sales_order set agreed_payment_date = '0001-01-01' where sales_order_id = 1",
        "update design set design_name = E'a\\n\\'\"é 🦆', file_name = '' where design_id = 1",
        "update currency set currency_code = '???' where currency_id = 2",
    )

    result = source.run(verify=True)

    assert rows_of(source, result) == wanted(source)


@pytest.mark.parametrize("memory", ["160MB", "24MB"])
def test_tables_that_are_read_in_parts_give_the_same(
    source: Ingestion, monkeypatch: pytest.MonkeyPatch, memory: str
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2 * 8192)
    monkeypatch.setattr(source_reader, "_MEMORY", memory)
    source.execute("update payment set payment_date = 'soon' where payment_id % 10 = 1")

    result = source.run(verify=True)

    assert len(fingerprints_of(result)["fact_payment"].files) > 2
    assert rows_of(source, result) == wanted(source)


def test_rows_that_the_raw_zone_cannot_hold_wait_there(source: Ingestion) -> None:
    before = wanted(source)
    source.execute(
        "update payment set created_at = 'infinity', last_updated = 'infinity' "
        "where payment_id = 1",
        "update staff set created_at = 'infinity' where staff_id = 2",
        "update department set created_at = 'infinity' where department_id = "
        "(select department_id from staff where staff_id = 1)",
    )

    found = rows_of(source, source.run(verify=True))

    waiting = (None, WAITS_IN_RAW_QUARANTINE)
    assert found["fact_payment"] == before["fact_payment"] | {1: waiting}
    assert {found["dim_staff"][1], found["dim_staff"][2]} == {waiting}
    assert found["dim_staff"].keys() == before["dim_staff"].keys()
    shown = {key: row for key, row in found["dim_staff"].items() if row != waiting}
    assert shown.items() <= before["dim_staff"].items()
    assert found["dim_location"] == before["dim_location"]


def test_blanks_that_pad_a_value_make_no_other_row(source: Ingestion) -> None:
    before = wanted(source)
    source.execute(
        "create domain code as character(9)",
        "alter table currency alter column currency_code type code",
        "alter table payment alter column payment_date type character(12)",
        "alter table department alter column department_name type character(40)",
        "alter table design alter column design_name type bpchar",
        "update design set design_name = design_name || '  '::bpchar",
        'alter table design add column "DESIGN_ID" character(4) not null default 1',
    )

    result = source.run(verify=True)

    assert {row["currency_code"] for row in source.taken("currency")} >= {"GBP      "}
    assert rows_of(source, result) == before


def test_fingerprints_are_of_the_run_s_own_instant(source: Ingestion) -> None:
    before = wanted(source)
    later = source.at_snapshot(
        lambda _: source.execute("update design set design_name = 'later' where design_id = 1")
    )

    result = source.run(connect=later, verify=True)

    assert rows_of(source, result) == before


def test_a_run_that_found_nothing_new_has_fingerprints_too(source: Ingestion) -> None:
    source.run()

    result = source.run(run_id="another", verify=True)

    assert not result.committed
    assert rows_of(source, result) == wanted(source)
    files = {file for one in fingerprints_of(result).values() for file in one.files}
    assert all(file.startswith("fingerprints/another/") for file in files)


def test_dim_date_is_at_least_what_the_source_mentions(source: Ingestion) -> None:
    found = fingerprints_of(source.run(verify=True))

    assert [table for table, one in found.items() if one.is_cumulative] == ["dim_date"]
    assert found["dim_date"].columns[0] == "date_id"


def test_empty_tables_make_no_rows(source: Ingestion) -> None:
    source.execute("truncate payment, transaction, sales_order, purchase_order")

    found = fingerprints_of(source.run(verify=True))

    assert [one.failure for one in found.values()] == [""] * 11
    assert (found["fact_payment"].files, found["dim_date"].files) == ((), ())


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ("alter table design rename column file_name to title", {"dim_design"}),
        ("alter table design rename to pattern", {"dim_design"}),
        (
            "alter table payment rename column payment_date to due",
            {"fact_payment", "dim_date"},
        ),
    ],
)
def test_a_select_that_fails_says_so_and_the_run_goes_on(
    source: Ingestion, change: Any, failing: set[str]
) -> None:
    source.execute(change)

    result = source.run(verify=True)

    assert result.committed
    found = fingerprints_of(result)
    assert {table for table, one in found.items() if one.failure} == failing
    assert len(source.files(found["dim_currency"].files)) == 3


@pytest.mark.parametrize("left", [0.0, 29.0])
def test_a_run_that_has_no_time_left_has_no_fingerprints(source: Ingestion, left: float) -> None:
    source.run()

    result = source.run(verify=True, seconds_left=lambda: left)

    assert result.complete
    assert result.fingerprints is None


def test_nothing_is_left_on_the_disk(
    source: Ingestion, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    source.run(verify=True)

    assert list(tmp_path.iterdir()) == []
