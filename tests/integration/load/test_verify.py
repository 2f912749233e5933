"""Verification: the source's fingerprints, the star schema's rows and the warehouse's rows."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from lambdas.load.source_fingerprints import SourceFingerprints
from lambdas.load.verify import VerifiedTable, verify
from pipeline.errors import ObjectMissing, StarSchemaMismatch, VerificationFailed
from pipeline.fingerprints import WAITS_IN_QUARANTINE, WAITS_IN_RAW_QUARANTINE, StarFingerprints
from tests.fixtures.lake import DAY, PAYMENT_DIMENSIONS, StarLake
from tests.integration.load.conftest import Connect, LoadThrough
from tests.integration.load.source import MadeUpSource

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ONE = {"payment_id": 1, "payment_amount": Decimal("10.01")}
TWO = {"payment_id": 2, "payment_amount": Decimal("20.00")}
THREE = {"payment_id": 3, "payment_amount": Decimal("30.03")}


def malformed(payment_id: int, sequence: int = 1) -> Mapping[str, Any]:
    """Returns a source row as the lake's quarantine holds it."""
    return {
        "star_table": "fact_payment",
        "natural_key": str(payment_id),
        "reason": "not kept: payment_date is a date",
        "source_row": json.dumps({"payment_id": payment_id}),
        "run_id": f"run-{sequence}",
        "_sequence": sequence,
    }


def prove(
    warehouse: psycopg.Connection,
    lake: StarLake,
    source: MadeUpSource | SourceFingerprints,
    *,
    sequence: int = 1,
    seconds_left: float = 60.0,
) -> dict[str, VerifiedTable]:
    """Verifies, and returns the outcome by table."""
    fingerprints = source.fingerprints() if isinstance(source, MadeUpSource) else source
    verified = verify(
        warehouse,
        lake.lake,
        fingerprints,
        sequence=sequence,
        seconds_left=lambda: seconds_left,
    )
    return {one.table: one for one in verified}


@pytest.fixture
def payments(star_lake: StarLake, load_through: LoadThrough) -> StarLake:
    """A loaded lake of three payments, one of them in two versions."""
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows(
        "fact_payment",
        {"payment_record_id": 1, **ONE, "payment_amount": Decimal("999.99")},
        {"payment_record_id": 2, **TWO},
        {"payment_record_id": 3, **THREE},
        {"payment_record_id": 4, **ONE},
    )
    load_through(1)
    return star_lake


@pytest.fixture
def dimensions(raw_bucket: str, s3: "S3Client") -> MadeUpSource:
    """A source that makes the dimensions of a payment, and no facts."""
    source = MadeUpSource(raw_bucket, s3)
    source.makes_one_row(*PAYMENT_DIMENSIONS)
    return source


@pytest.fixture
def source(dimensions: MadeUpSource) -> MadeUpSource:
    """A source that makes the three payments."""
    dimensions.makes("fact_payment", ONE, TWO, THREE)
    return dimensions


def test_what_is_equal_is_counted_table_by_table(
    warehouse: psycopg.Connection, payments: StarLake, source: MadeUpSource
) -> None:
    verified = prove(warehouse, payments, source)

    assert len(verified) == 11
    assert verified["fact_payment"] == VerifiedTable(
        "fact_payment", 3, 4, rows_quarantined=0, waiting=0
    )
    assert verified["dim_currency"] == VerifiedTable(
        "dim_currency", 1, 1, rows_quarantined=0, waiting=0
    )
    assert verified["fact_sales_order"] == VerifiedTable(
        "fact_sales_order", 0, 0, rows_quarantined=0, waiting=0
    )


@pytest.mark.parametrize(
    "change",
    [
        "delete from superseded_version",
        "update superseded_version set superseded_by = 3",
        "insert into superseded_version values ('fact_payment', 2, 4)",
        "insert into superseded_version values ('fact_payment', 4, 5)",
        "insert into superseded_version values ('fact_payment', 9, 10)",
    ],
)
def test_a_version_that_is_not_marked_as_its_rows_say_is_a_difference(
    warehouse: psycopg.Connection, payments: StarLake, source: MadeUpSource, change: LiteralString
) -> None:
    warehouse.execute(change)

    said = "superseded_version: 1 versions of fact_payment are marked otherwise than its rows say"
    with pytest.raises(VerificationFailed, match=said):
        prove(warehouse, payments, source)


@pytest.mark.parametrize(
    "change",
    [
        "create or replace view current_payment as select * from fact_payment where paid",
        "create or replace view current_payment as select * from fact_payment",
        "alter view current_payment rename to theirs; "
        "create materialized view current_payment as select * from theirs limit 2",
        "drop view current_payment; create view current_payment as select 1 as payment_id",
        "drop view waiting_rule",
        "alter view waiting_rule rename to theirs; "
        "create view waiting_rule as select * from theirs union all "
        "select 'fact_payment', 'more', 1, now(), now(), null",
    ],
)
def test_a_view_that_shows_other_rows_than_its_own_is_a_difference(
    warehouse: psycopg.Connection, payments: StarLake, source: MadeUpSource, change: LiteralString
) -> None:
    warehouse.execute(change)

    with pytest.raises(
        VerificationFailed,
        match=r"(current_payment|waiting_rule)(: \d rows are not as| cannot be compared)",
    ):
        prove(warehouse, payments, source)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ONE, TWO, THREE | {"payment_amount": Decimal("30.04")}], "payment_id 3 differs."),
        ([ONE, TWO, THREE | {"paid": True}], "payment_id 3 differs."),
        ([ONE, TWO, THREE | {"created_time": "09:30:00.000001"}], "payment_id 3 differs."),
        ([ONE, TWO, THREE, {"payment_id": 4}], "payment_id 4 is missing."),
        ([ONE, TWO], "payment_id 3 is extra."),
        ([ONE, TWO, THREE, THREE], "payment_id 3 is doubled."),
        ([ONE | {"payment_amount": Decimal("999.99")}, TWO, THREE], "payment_id 1 differs."),
    ],
)
def test_a_source_that_differs_from_the_star_schema_is_named_by_table_and_key(
    warehouse: psycopg.Connection,
    payments: StarLake,
    dimensions: MadeUpSource,
    rows: list[Mapping[str, Any]],
    message: str,
) -> None:
    dimensions.makes("fact_payment", *rows)

    with pytest.raises(VerificationFailed, match=f"source/star fact_payment: {message}"):
        prove(warehouse, payments, dimensions)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "update fact_payment set payment_amount = 999.98 where payment_record_id = 1",
            "fact_payment: payment_record_id 1 differs.",
        ),
        ("update dim_currency set currency_name = 'E'", "dim_currency: currency_id 1 differs."),
        ("update dim_date set is_deleted = true", "dim_date: date_id 2026-01-31 differs."),
        ("update dim_date set run_id = ''", "dim_date: date_id 2026-01-31 differs."),
        (
            "delete from fact_payment where payment_record_id = 4",
            "fact_payment: payment_record_id 4 is missing.",
        ),
        (
            "insert into dim_design values (5, '', '', '', true, '')",
            "dim_design: design_id 5 is extra.",
        ),
    ],
)
def test_a_warehouse_that_differs_from_the_star_schema_is_named_by_table_and_key(
    warehouse: psycopg.Connection,
    payments: StarLake,
    source: MadeUpSource,
    statement: str,
    message: str,
) -> None:
    warehouse.execute(statement.encode())

    with pytest.raises(VerificationFailed, match=re.escape(f"star/warehouse {message}")):
        prove(warehouse, payments, source)


@pytest.mark.parametrize("star", ["dim_design", "fact_payment"])
def test_rows_that_readers_get_from_a_table_that_inherits_are_differences(
    warehouse: psycopg.Connection, payments: StarLake, source: MadeUpSource, star: str
) -> None:
    child, grandchild = sql.Identifier("of theirs"), sql.Identifier("of theirs, too")
    inherits = sql.SQL("create table {} () inherits ({})")
    warehouse.execute(inherits.format(child, sql.Identifier(star)))
    warehouse.execute(inherits.format(grandchild, child))
    prove(warehouse, payments, source)
    copy = sql.SQL("insert into {} select * from only {}")
    row = "(7, '', '', '', false, '')"
    if star == "dim_design":
        warehouse.execute(sql.SQL("insert into {} values " + row).format(grandchild))
    else:
        warehouse.execute(copy.format(grandchild, sql.Identifier(star)))

    with pytest.raises(VerificationFailed, match=f'`alter table .* no inherit "{star}"`'):
        prove(warehouse, payments, source)


def test_every_table_is_named_with_its_first_rows_and_how_many_more_there_are(
    warehouse: psycopg.Connection, payments: StarLake, source: MadeUpSource
) -> None:
    source.makes("fact_payment", *({"payment_id": key} for key in range(100, 110)))
    warehouse.execute("delete from fact_payment where payment_record_id = 2")

    with pytest.raises(VerificationFailed) as failure:
        prove(warehouse, payments, source)

    assert (
        "star/warehouse fact_payment: payment_record_id 2 is missing; source/star fact_payment: "
        "payment_id 100 is missing, payment_id 101 is missing, payment_id 102 is missing, "
        'and 7 more. Start the state machine with {"rebuild": true}; '
    ) in str(failure.value)


def test_a_row_that_the_lake_has_twice_is_named(
    warehouse: psycopg.Connection, payments: StarLake, source: MadeUpSource
) -> None:
    payments.add_star_rows("fact_payment", {"payment_record_id": 2, **TWO})

    with pytest.raises(VerificationFailed, match="payment_record_id 2 is doubled"):
        prove(warehouse, payments, source)


def test_rows_that_have_gone_from_the_source_are_no_rows_of_now(
    warehouse: psycopg.Connection,
    star_lake: StarLake,
    dimensions: MadeUpSource,
    load_through: LoadThrough,
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("dim_currency", {"currency_id": 2, "is_deleted": True})
    star_lake.add_star_rows("fact_payment", {"is_deleted": True})
    load_through(1)

    verified = prove(warehouse, star_lake, dimensions)

    assert verified["fact_payment"] == VerifiedTable(
        "fact_payment", 0, 1, rows_quarantined=0, waiting=0
    )
    assert verified["dim_currency"] == VerifiedTable(
        "dim_currency", 1, 2, rows_quarantined=0, waiting=0
    )


def test_runs_after_the_one_that_was_loaded_do_not_count(
    warehouse: psycopg.Connection, payments: StarLake, source: MadeUpSource
) -> None:
    payments.add_star_rows("fact_payment", {"payment_record_id": 5, "payment_id": 5}, sequence=2)

    assert prove(warehouse, payments, source)["fact_payment"].versions == 4


def test_a_table_that_reads_its_own_rows_may_hold_more_and_not_less(
    warehouse: psycopg.Connection, payments: StarLake, source: MadeUpSource
) -> None:
    least = replace(source.tables["dim_date"], files=(), is_cumulative=True)
    source.tables["dim_date"] = least
    assert prove(warehouse, payments, source)["dim_date"].versions == 1

    source.makes("dim_date", {"date_id": DAY.replace(day=1)}, is_cumulative=True)
    with pytest.raises(VerificationFailed, match="dim_date: date_id 2026-01-01 is missing"):
        prove(warehouse, payments, source)


def test_facts_that_wait_in_the_warehouse_are_counted_and_compared(
    warehouse: psycopg.Connection,
    payments: StarLake,
    source: MadeUpSource,
    load_through: LoadThrough,
) -> None:
    later = {"payment_id": 4, "transaction_id": 7}
    payments.add_star_rows("fact_payment", {"payment_record_id": 5, **later}, sequence=2)
    load_through(2)
    source.makes("fact_payment", later)

    verified = prove(warehouse, payments, source, sequence=2)

    assert verified["fact_payment"] == VerifiedTable(
        "fact_payment", 4, 4, rows_quarantined=0, waiting=1
    )
    warehouse.execute("""update waiting_row set content = content || '{"paid": true}'""")
    with pytest.raises(VerificationFailed, match="payment_record_id 5 differs"):
        prove(warehouse, payments, source, sequence=2)
    warehouse.execute("delete from waiting_row")
    with pytest.raises(VerificationFailed, match="payment_record_id 5 is missing"):
        prove(warehouse, payments, source, sequence=2)


def test_a_malformed_source_row_has_to_wait_in_the_lake_s_quarantine(
    warehouse: psycopg.Connection, payments: StarLake, dimensions: MadeUpSource
) -> None:
    # 3 was shown in good form before, 9 never was.
    waiting = {3: WAITS_IN_QUARANTINE, 9: WAITS_IN_QUARANTINE}
    dimensions.makes("fact_payment", ONE, TWO, waiting=waiting)

    with pytest.raises(VerificationFailed, match="payment_id 3 differs, payment_id 9 is missing"):
        prove(warehouse, payments, dimensions)

    payments.add("quarantine", malformed(3, 2), malformed(9, 1), malformed(1))
    assert prove(warehouse, payments, dimensions)["fact_payment"] == VerifiedTable(
        "fact_payment", 2, 4, rows_quarantined=2, waiting=0
    )


def test_a_malformed_row_that_a_later_version_has_replaced_waits_no_more(
    warehouse: psycopg.Connection, payments: StarLake, dimensions: MadeUpSource
) -> None:
    dimensions.makes("fact_payment", ONE, TWO, waiting={3: WAITS_IN_QUARANTINE})
    payments.add("quarantine", malformed(3, 1))

    with pytest.raises(VerificationFailed, match="payment_id 3 differs"):
        prove(warehouse, payments, dimensions)


def test_a_row_that_the_raw_zone_cannot_hold_may_be_shown_as_it_was_or_not_at_all(
    warehouse: psycopg.Connection, payments: StarLake, dimensions: MadeUpSource
) -> None:
    waiting = {3: WAITS_IN_RAW_QUARANTINE, 9: WAITS_IN_RAW_QUARANTINE}
    dimensions.makes("fact_payment", ONE, TWO, waiting=waiting)

    assert prove(warehouse, payments, dimensions)["fact_payment"].rows_quarantined == 2


def test_a_run_without_an_instant_of_its_own_is_said_to_be_loaded_and_not_proved(
    warehouse: psycopg.Connection, payments: StarLake
) -> None:
    with pytest.raises(VerificationFailed, match=r"run 1 is loaded, but .* more than one snapshot"):
        verify(warehouse, payments.lake, None, sequence=1, seconds_left=lambda: 60.0)


@pytest.mark.parametrize(
    ("fingerprints", "message"),
    [
        (
            StarFingerprints("dim_design", failure="Binder Error: no file_name"),
            "source/star dim_design: its SELECT fails at the source (Binder Error: no file_name).",
        ),
        (
            StarFingerprints("dim_design", ("design_id", "design_name", "file_name", "colour")),
            "source/star dim_design: only one of SELECT and warehouse has colour, file_location.",
        ),
        (StarFingerprints("dim_weather", ("day",)), "the warehouse has no dim_weather."),
    ],
)
def test_what_cannot_be_compared_is_not_proved(
    warehouse: psycopg.Connection,
    payments: StarLake,
    source: MadeUpSource,
    fingerprints: StarFingerprints,
    message: str,
) -> None:
    source.tables[fingerprints.table] = fingerprints

    with pytest.raises(VerificationFailed, match=re.escape(message)):
        prove(warehouse, payments, source)


def test_a_table_of_which_the_source_tells_nothing_is_not_proved(
    warehouse: psycopg.Connection, payments: StarLake, source: MadeUpSource
) -> None:
    del source.tables["dim_staff"]

    with pytest.raises(VerificationFailed, match="source/star dim_staff: it has no SELECT"):
        prove(warehouse, payments, source)


def test_a_proof_that_has_no_time_left_says_how_far_it_came_and_leaves_nothing(
    warehouse: psycopg.Connection, payments: StarLake, source: MadeUpSource
) -> None:
    with pytest.raises(VerificationFailed, match="did not suffice to prove it: it came to dim_"):
        prove(warehouse, payments, source, seconds_left=10.0)

    assert prove(warehouse, payments, source)


def test_a_statement_is_given_up_before_the_function_s_time_ends(
    warehouse: psycopg.Connection, payments: StarLake, source: MadeUpSource, connect: Connect
) -> None:
    with connect().transaction() as held:
        held.connection.execute("lock table fact_payment in access exclusive mode")
        with pytest.raises(VerificationFailed, match="it came to fact_payment"):
            prove(warehouse, payments, source, seconds_left=10.5)


def test_fingerprints_that_have_expired_are_named(
    warehouse: psycopg.Connection, payments: StarLake, source: MadeUpSource
) -> None:
    (file,) = source.tables["fact_payment"].files
    source.client.delete_object(Bucket=source.bucket, Key=file)

    with pytest.raises(ObjectMissing, match=file):
        prove(warehouse, payments, source)


def test_a_column_that_the_lake_lacks_is_a_mismatch(
    warehouse: psycopg.Connection, payments: StarLake, source: MadeUpSource
) -> None:
    with payments.table("dim_currency").update_schema() as change:
        change.delete_column("currency_name")

    with pytest.raises(StarSchemaMismatch, match="dim_currency has no currency_name in the lake"):
        prove(warehouse, payments, source)
