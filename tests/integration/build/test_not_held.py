"""What the raw zone could not hold, or saw go during a run, as the star schema shows it."""

import psycopg
import pytest

from lambdas.ingest import chunks
from lambdas.ingest.ingest import IngestResult, ingest
from pipeline.requests import IngestRequest
from star_schema.tables import joined_sources, star_tables
from tests.integration.build.world import Business, Star

MANY_PAYMENTS = """
insert into payment (transaction_id, counterparty_id, payment_amount, currency_id, payment_type_id,
    paid, payment_date, company_ac_number, counterparty_ac_number)
select transaction_id, counterparty_id, payment_amount, currency_id, payment_type_id,
    paid, payment_date, company_ac_number, counterparty_ac_number
from payment
cross join generate_series(1, 40)
"""


def test_a_row_that_is_not_held_stays_as_it_was(business: Business, star: Star) -> None:
    business.run()
    star.build("dim_staff", "dim_design", "fact_payment")
    before = {table: star.rows(table) for table in ("dim_staff", "dim_design", "fact_payment")}
    for statement in (
        "update staff set created_at = 'infinity', first_name = 'Ada' where staff_id = 1",
        "update department set created_at = '-infinity' where department_id = 2",
        "update design set created_at = 'infinity' where design_id = 1",
        "update payment set created_at = 'infinity' where payment_id = 1",
    ):
        business.execute(statement)
    result = business.capture()

    star.build("dim_staff", "dim_design", "fact_payment")

    assert sum(table.not_held for table in result.tables) == 4
    for table, rows in before.items():
        assert sorted(map(str, star.rows(table))) == sorted(map(str, rows)), table


def test_a_row_that_went_while_a_run_of_several_snapshots_took_it_has_two_versions(
    business: Business, star: Star, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 8192)
    business.execute(MANY_PAYMENTS)
    assert not capture_for(business, chunks_before_the_end=16).complete
    business.execute("delete from payment where payment_id = 1")
    assert capture_for(business, chunks_before_the_end=10_000).complete

    star.build("fact_payment", through=1)

    first, gone = star.history("fact_payment", 1)
    assert (first["is_deleted"], gone["is_deleted"]) == (False, True)
    built = star.rows("fact_payment")
    star.build("fact_payment", through=1, rebuild=True)
    assert sorted(map(str, star.rows("fact_payment"))) == sorted(map(str, built))


def capture_for(business: Business, *, chunks_before_the_end: int) -> IngestResult:
    """Captures with time for some chunks."""
    asked = 0

    def seconds_left() -> float:
        nonlocal asked
        asked += 1
        return 1000.0 if asked <= chunks_before_the_end else 0.0

    return ingest(
        IngestRequest("run-1"),
        connect=lambda: psycopg.connect(business.dsn),
        bucket=business.bucket,
        client=business.client,
        joined=joined_sources(star_tables()),
        readers=1,
        seconds_left=seconds_left,
    )
