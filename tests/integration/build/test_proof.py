"""`verify` on a source, its star schema and its warehouse, with differences planted."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import LiteralString

import psycopg
import pytest
from pyiceberg.catalog.glue import GlueCatalog

from lambdas.ingest.discovery import read_tables
from lambdas.ingest.failures import Failures
from lambdas.ingest.fingerprints import fingerprint_stars
from lambdas.ingest.raw_zone import RawZone
from lambdas.load.lake import Lake
from lambdas.load.load import load
from lambdas.load.plan import source_changed
from lambdas.load.source_fingerprints import SourceFingerprints
from lambdas.load.verify import VerifiedTable, verify
from local.postgres import PostgresServer
from local.source.activity import run_activity
from pipeline.errors import VerificationFailed
from pipeline.requests import LoadRequest
from star_schema.tables import star_tables
from tests.integration.build.world import STARS, Business, Star

UNFIT: tuple[LiteralString, ...] = (
    "alter table payment alter column payment_date drop not null",
    "update payment set payment_date = 'next week' where payment_id in (11, 12)",
    "update payment set payment_date = null where payment_id = 13",
    "update payment set payment_amount = 'NaN' where payment_id = 14",
    "update payment set payment_amount = -0.0000000001 where payment_id = 15",
)
CHANGES: tuple[LiteralString, ...] = (
    "update payment set payment_date = '2024-02-29' where payment_id = 11",
    "update payment set payment_date = '31/12/2024' where payment_id = 16",
    "update sales_order set agreed_delivery_date = '2031-07-01' where sales_order_id = 2",
    # Values that the raw zone does not hold: of a fact, of a dimension, of a table that is joined.
    "update payment set created_at = 'infinity' where payment_id = 17",
    "update design set created_at = 'infinity', design_name = 'lost' where design_id = 1",
    "update department set created_at = '-infinity' where department_id = 2",
    # A fact that waits for its dimension.
    """
    with made as (
        insert into transaction (transaction_type, sales_order_id, created_at)
        values ('SALE', 1, 'infinity')
        returning transaction_id
    )
    insert into payment (transaction_id, counterparty_id, payment_amount, currency_id,
        payment_type_id, paid, payment_date, company_ac_number, counterparty_ac_number)
    select made.transaction_id, 1, 5, 1, 1, true, '2024-01-01', 1, 1
    from made
    """,
    "update staff set first_name = 'Zoë 🦆' where staff_id = 3",
    "update address set district = '' where address_id = 2",
    "insert into currency (currency_code) values ('???')",
    "delete from payment where payment_id = 18",
)


@dataclass(frozen=True)
class Pipeline:
    """A business that has gone through all stages, and its star schema and warehouse."""

    business: Business
    star: Star
    lake: Lake
    dsn: str

    def run(self) -> None:
        """Goes through all stages once."""
        self.business.capture()
        self.star.build(*STARS)
        with psycopg.connect(self.dsn, autocommit=True) as warehouse:
            request = LoadRequest("run", self.business.runs, rebuild=False)
            changed = source_changed(self.business.store)
            load(warehouse, self.lake, request, changed, seconds_left=lambda: 60.0)

    def verify(self) -> dict[str, VerifiedTable]:
        """Holds everything against the source as it stands."""
        with psycopg.connect(self.business.dsn, autocommit=True) as source, source.transaction():
            source.execute("set transaction isolation level repeatable read, read only")
            fingerprints = fingerprint_stars(
                source,
                read_tables(source),
                star_tables(),
                failures=Failures(),
                zone=RawZone(self.business.bucket, self.business.client, 1, "2026-01-31"),
                run_id="run",
                seconds_left=lambda: 60.0,
            )
        assert fingerprints is not None
        with psycopg.connect(self.dsn, autocommit=True) as warehouse:
            verified = verify(
                warehouse,
                self.lake,
                SourceFingerprints(self.business.bucket, self.business.client, fingerprints),
                sequence=self.business.runs,
                seconds_left=lambda: 60.0,
            )
        return {one.table: one for one in verified}


@contextmanager
def planted(dsn: str, plant: LiteralString, undo: LiteralString) -> Iterator[None]:
    """Plants a difference in a database, past all triggers and keys, for a while."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(plant)
        try:
            yield
        finally:
            connection.execute(undo)


@pytest.fixture(scope="module")
def pipeline(
    new_business: Callable[[], Business],
    new_star: Callable[[Business], Star],
    lake_catalog: GlueCatalog,
    postgres_server: PostgresServer,
) -> Iterator[Pipeline]:
    """Two runs, with all that makes a source differ from its star schema for good reasons."""
    business = new_business()
    star = new_star(business)
    dsn = postgres_server.create_database("proved")
    pipeline = Pipeline(business, star, Lake(lake_catalog, star.database), dsn)
    for statement in UNFIT:
        business.execute(statement)
    pipeline.run()
    run_activity(business.dsn)
    for statement in CHANGES:
        business.execute(statement)
    pipeline.run()
    yield pipeline
    postgres_server.drop_database("proved")


AT_THE_SOURCE: dict[str, tuple[LiteralString, LiteralString, str]] = {
    "a cent": (
        "update payment set payment_amount = payment_amount + 0.01 where payment_id = 20",
        "update payment set payment_amount = payment_amount - 0.01 where payment_id = 20",
        "source/star fact_payment: payment_id 20 differs.",
    ),
    "a character": (
        "update staff set last_name = last_name || ' ' where staff_id = 4",
        "update staff set last_name = rtrim(last_name) where staff_id = 4",
        "source/star dim_staff: staff_id 4 differs.",
    ),
    "a character of a joined table": (
        "update department set department_name = department_name || '.' where department_id = 1",
        "update department set department_name = rtrim(department_name, '.') "
        "where department_id = 1",
        "source/star dim_staff: staff_id ",
    ),
    "a missing row": (
        "insert into design values (9001, 'd', 'l', 'n')",
        "delete from design where design_id = 9001",
        "source/star dim_design: design_id 9001 is missing.",
    ),
    "an extra row": (
        "create table kept as select * from purchase_order where purchase_order_id = 1;"
        "delete from purchase_order where purchase_order_id = 1",
        "insert into purchase_order select * from kept; drop table kept",
        "source/star fact_purchase_order: purchase_order_id 1 is extra.",
    ),
    "a malformed row that nobody knows of": (
        "update purchase_order set agreed_payment_date = '?' || agreed_payment_date "
        "where purchase_order_id = 2",
        "update purchase_order set agreed_payment_date = ltrim(agreed_payment_date, '?') "
        "where purchase_order_id = 2",
        "source/star fact_purchase_order: purchase_order_id 2 differs.",
    ),
    "a day after all that are known": (
        "insert into payment select 9002, transaction_id, counterparty_id, payment_amount, "
        "currency_id, payment_type_id, paid, '2040-12-31', 1, 1 from payment where payment_id = 20",
        "delete from payment where payment_id = 9002",
        "source/star dim_date: date_id 2032-01-01 is missing, date_id 2032-01-02 is missing, "
        "date_id 2032-01-03 is missing, and 3285 more; ",
    ),
}
IN_THE_WAREHOUSE: dict[str, tuple[LiteralString, LiteralString, str]] = {
    "a cent": (
        "update fact_payment set payment_amount = payment_amount + 0.01 "
        "where payment_record_id = 1",
        "update fact_payment set payment_amount = payment_amount - 0.01 "
        "where payment_record_id = 1",
        "star/warehouse fact_payment: payment_record_id 1 differs.",
    ),
    "a cent of a fact that waits": (
        "update waiting_row set content = content || '{\"payment_amount\": 5.01}'",
        "update waiting_row set content = content || '{\"payment_amount\": 5}'",
        "star/warehouse fact_payment: payment_record_id ",
    ),
    "a character": (
        "update dim_location set city = city || '.' where location_id = 5",
        "update dim_location set city = rtrim(city, '.') where location_id = 5",
        "star/warehouse dim_location: location_id 5 differs.",
    ),
    "null for an empty string": (
        "update dim_location set district = null where location_id = 2",
        "update dim_location set district = '' where location_id = 2",
        "star/warehouse dim_location: location_id 2 differs.",
    ),
    "a missing row": (
        "delete from dim_payment_type where payment_type_id = 2;",
        "insert into dim_payment_type select 2, 'SALES_REFUND', false, min(run_id) "
        "from dim_payment_type",
        "star/warehouse dim_payment_type: payment_type_id 2 is missing.",
    ),
    "an extra row": (
        "insert into dim_currency values (9003, 'XXX', 'XXX', false, 'run-1')",
        "delete from dim_currency where currency_id = 9003",
        "star/warehouse dim_currency: currency_id 9003 is extra.",
    ),
    "a fact that waits and is there": (
        "insert into fact_payment select row.* from waiting_row "
        "cross join lateral jsonb_populate_record(null::fact_payment, content) as row",
        "delete from fact_payment where payment_record_id::text in (select key from waiting_row)",
        " is doubled.",
    ),
}


def test_history_deletions_and_all_that_waits_are_no_differences(pipeline: Pipeline) -> None:
    verified = pipeline.verify()

    with (
        psycopg.connect(pipeline.business.dsn) as source,
        psycopg.connect(pipeline.dsn) as warehouse,
    ):
        payments = source.execute("select count(*) from payment").fetchone()
        versions = warehouse.execute("select count(*) from fact_payment").fetchone()
    assert payments is not None
    assert versions is not None
    assert verified.keys() == STARS.keys()
    # Kept out: 12, 13, 14, 16 and 17; and one is in the star schema, but not in the warehouse.
    assert verified["fact_payment"] == VerifiedTable(
        "fact_payment",
        rows=payments[0] - 5,
        versions=versions[0],
        rows_quarantined=5,
        waiting=1,
    )
    assert verified["dim_design"].rows_quarantined == 1
    assert verified["dim_staff"].rows_quarantined > 0


@pytest.mark.parametrize("planted_difference", AT_THE_SOURCE)
def test_what_the_star_schema_lacks_of_the_source_is_named(
    pipeline: Pipeline, planted_difference: str
) -> None:
    plant, undo, message = AT_THE_SOURCE[planted_difference]

    with (
        planted(pipeline.business.dsn, plant, undo),
        pytest.raises(VerificationFailed, match=re.escape(message)) as failure,
    ):
        pipeline.verify()

    assert "star/warehouse" not in str(failure.value)


@pytest.mark.parametrize("planted_difference", IN_THE_WAREHOUSE)
def test_what_the_warehouse_lacks_of_the_star_schema_is_named(
    pipeline: Pipeline, planted_difference: str
) -> None:
    plant, undo, message = IN_THE_WAREHOUSE[planted_difference]

    with (
        planted(pipeline.dsn, plant, undo),
        pytest.raises(VerificationFailed, match=re.escape(message)) as failure,
    ):
        pipeline.verify()

    assert "source/star" not in str(failure.value)


def test_after_every_difference_has_been_undone_all_is_equal_again(pipeline: Pipeline) -> None:
    assert pipeline.verify().keys() == STARS.keys()
