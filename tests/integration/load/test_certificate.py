"""The certificate of a verified run, and what is left of it after later runs."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from lambdas.load.certifying import certificate_of
from lambdas.load.quality import BrokenRule, Quality
from lambdas.load.verify import verify
from lineage import certify
from lineage.certify import Checked, Outcome, check, read_certificate
from pipeline.certificate import Certificate
from pipeline.errors import InvalidInput, ObjectMissing
from pipeline.requests import LoadRequest
from tests.fixtures.lake import PAYMENT_DIMENSIONS, StarLake
from tests.integration.load.conftest import LoadThrough
from tests.integration.load.source import MadeUpSource

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHANGED = "later runs have changed it, and a dimension keeps the latest rows only"
EXPIRED = "its snapshot has expired, and a dimension keeps the latest rows only"


@pytest.fixture
def certificate(
    warehouse: psycopg.Connection,
    star_lake: StarLake,
    load_through: LoadThrough,
    raw_bucket: str,
    s3: "S3Client",
) -> Certificate:
    """Of a run of two payments, one of which waits for its transaction."""
    source = MadeUpSource(raw_bucket, s3)
    source.makes_one_row(*PAYMENT_DIMENSIONS)
    payments: list[dict[str, Any]] = [{"payment_id": 1}, {"payment_id": 2, "transaction_id": 7}]
    source.makes("fact_payment", *payments)
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    rows = [row | {"payment_record_id": number} for number, row in enumerate(payments, 1)]
    star_lake.add_star_rows("fact_payment", *rows)
    load_through(1)
    verified = verify(
        warehouse, star_lake.lake, source.fingerprints(), sequence=1, seconds_left=lambda: 60.0
    )
    found = Quality(0, (BrokenRule("fact_payment", "dim_transaction has no transaction_id", 1),))
    request = LoadRequest("run-1", 1, verify=True)
    return certificate_of(warehouse, request, "2026-01-31T09:30:00Z", verified, found)


@pytest.fixture
def outcomes(
    certificate: Certificate, star_lake: StarLake, warehouse: psycopg.Connection
) -> Callable[[], dict[tuple[str, str], Checked]]:
    """Checks the certificate now: what was found, by table and place."""

    def outcomes() -> dict[tuple[str, str], Checked]:
        found = check(certificate, star_lake.lake, warehouse)
        return {(one.table, one.place): one for one in found}

    return outcomes


def different(found: dict[tuple[str, str], Checked]) -> dict[tuple[str, str], str]:
    return {
        place: f"{one.outcome}: {one.reason}"
        for place, one in found.items()
        if one.outcome is not Outcome.EQUAL
    }


def test_a_certificate_has_the_digests_of_equal_rows_and_what_waits(
    certificate: Certificate,
) -> None:
    tables = {table.table: table for table in certificate.tables}
    payment = tables["fact_payment"]

    assert len(tables) == 11
    assert (payment.rows, payment.versions, payment.waiting) == (2, 1, 1)
    assert payment.source == payment.star != "0"
    assert payment.lake == payment.warehouse != payment.star
    assert (payment.last_key, tables["dim_currency"].last_key) == (2, None)
    assert tables["fact_sales_order"].lake == "0"
    assert certificate.exceptions == ("fact_payment: dim_transaction has no transaction_id (1)",)
    assert Certificate.from_json(json.dumps(certificate.to_json())) == certificate


def test_what_was_certified_is_still_there(
    outcomes: Callable[[], dict[tuple[str, str], Checked]],
) -> None:
    found = outcomes()

    assert len(found) == 22
    assert different(found) == {}


def test_a_table_that_was_not_certified_is_named(
    certificate: Certificate, star_lake: StarLake, warehouse: psycopg.Connection
) -> None:
    first, *others = certificate.tables

    found = list(check(replace(certificate, tables=tuple(others)), star_lake.lake, warehouse))

    assert [(one.table, one.outcome) for one in found if one.outcome is not Outcome.EQUAL] == [
        (first.table, Outcome.NO_LONGER_CHECKABLE)
    ]


def test_later_runs_leave_the_history_of_facts_checkable_and_say_so_of_dimensions(
    outcomes: Callable[[], dict[tuple[str, str], Checked]],
    star_lake: StarLake,
    load_through: LoadThrough,
) -> None:
    star_lake.add_star_rows("dim_transaction", {"transaction_id": 7}, sequence=2)
    paid = {"payment_record_id": 3, "payment_id": 1, "paid": True}
    star_lake.add_star_rows("fact_payment", paid, sequence=2)
    load_through(2)

    assert different(outcomes()) == {
        ("dim_transaction", "warehouse"): f"no longer checkable: {CHANGED}"
    }


def test_a_dimension_whose_snapshot_has_expired_is_no_longer_checkable(
    outcomes: Callable[[], dict[tuple[str, str], Checked]],
    certificate: Certificate,
    star_lake: StarLake,
    load_through: LoadThrough,
) -> None:
    row = {"currency_id": 1, "currency_code": "EUR", "currency_name": "", "is_deleted": False}
    star_lake.replace("dim_currency", row | {"run_id": "run-2", "_sequence": 2})
    load_through(2)
    table = star_lake.table("dim_currency")
    kept = {one.snapshot_id for one in table.snapshots()} - {table.metadata.current_snapshot_id}
    for snapshot in sorted(kept):
        star_lake.table("dim_currency").maintenance.expire_snapshots().by_id(snapshot).commit()

    assert different(outcomes()) == {
        ("dim_currency", "lake"): f"no longer checkable: {EXPIRED}",
        ("dim_currency", "warehouse"): f"no longer checkable: {CHANGED}",
    }


def test_rows_that_somebody_changed_differ(
    outcomes: Callable[[], dict[tuple[str, str], Checked]], warehouse: psycopg.Connection
) -> None:
    warehouse.execute("update fact_payment set payment_amount = payment_amount + 0.01")
    warehouse.execute("update dim_currency set currency_name = 'Pound'")

    assert different(outcomes()) == {
        ("fact_payment", "warehouse"): "differs: ",
        ("dim_currency", "warehouse"): "differs: ",
    }


def test_a_warehouse_that_was_put_back_differs(
    outcomes: Callable[[], dict[tuple[str, str], Checked]], warehouse: psycopg.Connection
) -> None:
    warehouse.execute("update load_position set sequence = 0 where table_name = 'fact_payment'")

    assert different(outcomes()) == {
        ("fact_payment", "warehouse"): "differs: it is loaded through run 0 only"
    }


def test_a_fact_of_the_lake_that_somebody_replaced_differs(
    outcomes: Callable[[], dict[tuple[str, str], Checked]], star_lake: StarLake
) -> None:
    other = {"payment_record_id": 1, "payment_amount": Decimal("9.99")}
    table = star_lake.table("fact_payment")
    current = table.metadata.current_snapshot_id
    star_lake.table("fact_payment").delete("payment_record_id = 1")
    star_lake.add_star_rows("fact_payment", other)
    assert current is not None
    star_lake.table("fact_payment").maintenance.expire_snapshots().by_id(current).commit()

    assert different(outcomes()) == {("fact_payment", "lake"): "differs: "}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "tables": [1]}'])
def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(InvalidInput, match="certificate"):
        read_certificate(str(tmp_path / "file.json"))
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_certificate(str(tmp_path / "missing.json"))


def test_the_command_reads_a_file_or_an_object_and_fails_if_something_differs(
    certificate: Certificate,
    star_lake: StarLake,
    warehouse: psycopg.Connection,
    warehouse_dsn: str,
    raw_bucket: str,
    s3: "S3Client",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Stack:
        glue_database = star_lake.lake.database

        def catalog(self) -> object:
            return star_lake.lake.catalog

        def connect(self, role: object) -> psycopg.Connection:
            return psycopg.connect(warehouse_dsn)

    body = json.dumps(certificate.to_json()).encode()
    s3.put_object(Bucket=raw_bucket, Key="certificates/run-1.json", Body=body)
    monkeypatch.setattr(certify, "places", lambda environment: Stack())
    monkeypatch.setattr(
        sys, "argv", ["certify", f"s3://{raw_bucket}/certificates/run-1.json", "--env", ""]
    )

    warehouse.execute('alter schema public rename to "The Star"; create schema public')
    assert certify.main() == 0
    assert "only a new execution" in capsys.readouterr().out
    warehouse.execute('delete from "The Star".fact_payment')
    assert certify.main() == 1
    assert "fact_payment           warehouse  differs" in capsys.readouterr().out
    edited = tmp_path / "edited.json"
    for change in (b'"rows": 1', b'"snapshot_at": "2'):
        edited.write_bytes(body.replace(change, change + b"1", 1))
        assert edited.read_bytes() != body
        monkeypatch.setattr(sys, "argv", ["certify", str(edited)])
        assert certify.main() == 1
        assert "the certificate differs" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["certify", f"s3://{raw_bucket}/none.json"])
    assert certify.main() == 2
    with pytest.raises(ObjectMissing):
        read_certificate(f"s3://{raw_bucket}/none.json")
