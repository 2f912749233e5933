"""Verification: the warehouse held against its source."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from lambdas.load.verify import VerifiedTable, verify
from pipeline.errors import VerificationFailed
from tests.fixtures.lake import PAYMENT_DIMENSIONS, StarLake
from tests.integration.load.conftest import LoadThrough

Fingerprint = dict[str, Any]


def fingerprint(rows: int, **sums: str) -> Fingerprint:
    return {"rows": rows, "sums": sums}


def malformed(
    payment_id: int, sequence: int = 1, *, table: str = "fact_payment", **source_row: Any
) -> Mapping[str, Any]:
    """Returns a source row as the lake's quarantine holds it."""
    return {
        "star_table": table,
        "natural_key": str(payment_id),
        "reason": "not kept: payment_date is a date",
        "source_row": json.dumps({"payment_id": payment_id} | source_row),
        "run_id": f"run-{sequence}",
        "_sequence": sequence,
    }


@pytest.fixture
def three_payments(star_lake: StarLake, load_through: LoadThrough) -> StarLake:
    """A loaded lake of three payments, one of them in two versions."""
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows(
        "fact_payment",
        {"payment_record_id": 1, "payment_id": 1, "payment_amount": Decimal("999.99")},
        {"payment_record_id": 2, "payment_id": 2, "payment_amount": Decimal("20.00")},
        {"payment_record_id": 3, "payment_id": 3, "payment_amount": Decimal("30.03")},
        {"payment_record_id": 4, "payment_id": 1, "payment_amount": Decimal("10.01")},
    )
    load_through(1)
    return star_lake


def test_a_warehouse_that_equals_its_source_passes_table_by_table(
    warehouse: psycopg.Connection, three_payments: StarLake
) -> None:
    source = {
        "payment": fingerprint(3, payment_id="6", payment_amount="60.04", company_ac_number="5"),
        "payment_type": fingerprint(1),
        "sales_order": fingerprint(0, sales_order_id="0", unit_price="0"),
        "department": fingerprint(8, department_id="36"),
    }

    verified = verify(warehouse, three_payments.lake, source)

    assert sorted(verified, key=lambda one: one.table) == [
        VerifiedTable("dim_payment_type", rows=1, quarantined=0),
        VerifiedTable("fact_payment", rows=3, quarantined=0),
        VerifiedTable("fact_sales_order", rows=0, quarantined=0),
    ]


def test_a_dimension_is_held_against_the_source_that_it_is_made_of(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions("dim_location", "dim_staff")
    load_through(1)
    source = {
        "address": fingerprint(1),
        "staff": fingerprint(1, staff_id="1", department_id="40"),
        "department": fingerprint(8, department_id="36"),
    }

    verified = verify(warehouse, star_lake.lake, source)

    assert {one.table for one in verified} == {"dim_location", "dim_staff"}


def test_a_cent_a_missing_row_and_an_extra_row_are_found_and_named(
    warehouse: psycopg.Connection, three_payments: StarLake
) -> None:
    cases = [
        (
            {"payment": fingerprint(3, payment_amount="60.05")},
            "fact_payment.payment_amount adds up to 60.04, its source to 60.05",
        ),
        ({"payment": fingerprint(4)}, "fact_payment has 3 rows, its source 4"),
        ({"payment": fingerprint(2)}, "fact_payment has 3 rows, its source 2"),
        ({"payment_type": fingerprint(4)}, "dim_payment_type has 1 rows, its source 4"),
    ]
    for source, message in cases:
        with pytest.raises(VerificationFailed, match=re.escape(message)):
            verify(warehouse, three_payments.lake, source)


def test_every_difference_is_named_at_once(
    warehouse: psycopg.Connection, three_payments: StarLake
) -> None:
    source = {"payment": fingerprint(2, payment_id="5"), "currency": fingerprint(3)}

    with pytest.raises(VerificationFailed) as failure:
        verify(warehouse, three_payments.lake, source)

    assert "dim_currency has 1 rows, its source 3; " in str(failure.value)
    assert "fact_payment has 3 rows, its source 2; " in str(failure.value)
    assert "fact_payment.payment_id adds up to 6, its source to 5. " in str(failure.value)


def test_rows_that_have_gone_from_the_source_do_not_count(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("dim_currency", {"currency_id": 2, "is_deleted": True})
    star_lake.add_star_rows("fact_payment", {"is_deleted": True})
    load_through(1)
    source = {"currency": fingerprint(1, currency_id="1"), "payment": fingerprint(0)}

    assert {one.rows for one in verify(warehouse, star_lake.lake, source)} == {0, 1}


def test_a_fact_that_waits_stands_for_its_key_unless_a_later_version_was_loaded(
    warehouse: psycopg.Connection, three_payments: StarLake, load_through: LoadThrough
) -> None:
    three_payments.add_star_rows(
        "fact_payment",
        # 1 waits in two versions, 2 in one that a later one has overtaken, 3 to be deleted.
        *(
            {"payment_record_id": record, "transaction_id": transaction, "payment_id": key}
            | {"payment_amount": Decimal(amount), "is_deleted": deleted}
            for record, key, transaction, amount, deleted in (
                (5, 1, 7, "100.01", False),
                (6, 1, 7, "100.02", False),
                (7, 2, 7, "200.01", False),
                (8, 2, 1, "200.02", False),
                (9, 3, 7, "300.01", True),
            )
        ),
        sequence=2,
    )
    load_through(2)

    source = {"payment": fingerprint(2, payment_id="3", payment_amount="300.04")}
    assert verify(warehouse, three_payments.lake, source) == (
        VerifiedTable("fact_payment", rows=1, quarantined=1),
    )

    wrong = {"payment": fingerprint(2, payment_amount="300.05")}
    with pytest.raises(VerificationFailed, match=r"300\.04 \(1 of them in quarantine\)"):
        verify(warehouse, three_payments.lake, wrong)


def test_a_malformed_source_row_stands_for_its_key_until_a_version_replaces_it(
    warehouse: psycopg.Connection, three_payments: StarLake, load_through: LoadThrough
) -> None:
    three_payments.add(
        "quarantine",
        # A new row, with its number as text; a row that was shown in good form; one corrected.
        malformed(9, payment_amount="0.07"),
        malformed(1, 2, payment_amount=5),
        malformed(2, payment_amount=77),
        malformed(3, table="fact_sales_order", unit_price=1),
    )
    three_payments.add_star_rows(
        "fact_payment",
        {"payment_record_id": 5, "payment_id": 2, "payment_amount": Decimal("20.00")},
        sequence=2,
    )
    load_through(2)

    source = {"payment": fingerprint(4, payment_id="15", payment_amount="55.10")}
    assert verify(warehouse, three_payments.lake, source) == (
        VerifiedTable("fact_payment", rows=2, quarantined=2),
    )


def test_a_malformed_row_in_several_runs_counts_as_it_was_last_seen(
    warehouse: psycopg.Connection, three_payments: StarLake
) -> None:
    three_payments.add(
        "quarantine",
        malformed(9, 3, payment_amount=3),
        malformed(9, 2, payment_amount=2),
        malformed(9, 1),
    )

    source = {"payment": fingerprint(4, payment_amount="63.04")}
    assert verify(warehouse, three_payments.lake, source) == (
        VerifiedTable("fact_payment", rows=3, quarantined=1),
    )


def test_malformed_rows_that_have_gone_from_the_source_without_a_trace_are_no_difference(
    warehouse: psycopg.Connection, three_payments: StarLake
) -> None:
    three_payments.add("quarantine", malformed(9, payment_amount=3))

    assert verify(warehouse, three_payments.lake, {"payment": fingerprint(3)}) == (
        VerifiedTable("fact_payment", rows=3, quarantined=0),
    )


def test_a_malformed_row_without_a_value_adds_nothing_to_the_sum(
    warehouse: psycopg.Connection, three_payments: StarLake
) -> None:
    three_payments.add("quarantine", malformed(9, payment_amount=None))

    source = {"payment": fingerprint(4, payment_id="15", payment_amount="60.04", currency_id="3")}
    assert verify(warehouse, three_payments.lake, source) == (
        VerifiedTable("fact_payment", rows=3, quarantined=1),
    )


def test_a_malformed_row_beside_facts_that_wait_is_counted_with_them(
    warehouse: psycopg.Connection, three_payments: StarLake, load_through: LoadThrough
) -> None:
    three_payments.add("quarantine", malformed(1, 2, payment_amount=1))
    three_payments.add_star_rows(
        "fact_payment",
        {"payment_record_id": 5, "payment_id": 4, "transaction_id": 7},
        sequence=2,
    )
    load_through(2)

    source = {"payment": fingerprint(4, payment_id="10", payment_amount="52.53")}
    assert verify(warehouse, three_payments.lake, source) == (
        VerifiedTable("fact_payment", rows=2, quarantined=2),
    )


def test_malformed_rows_of_another_table_do_not_count(
    warehouse: psycopg.Connection, three_payments: StarLake
) -> None:
    three_payments.add("quarantine", malformed(9, table="fact_sales_order", payment_amount=3))

    assert verify(warehouse, three_payments.lake, {"payment": fingerprint(3)}) == (
        VerifiedTable("fact_payment", rows=3, quarantined=0),
    )
