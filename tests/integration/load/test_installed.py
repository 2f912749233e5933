"""Warehouses that an earlier version of the pipeline made and filled."""

from typing import Any, LiteralString

import psycopg
import pytest

from lambdas.load.load import load
from lambdas.load.migrations import migrate, migrations
from pipeline.errors import MigrationFailed
from pipeline.requests import LoadRequest
from tests.fixtures.lake import PAYMENT_DIMENSIONS, StarLake
from tests.integration.load.conftest import unchanged
from tests.integration.load.test_migrations import fill

_VERSION = 3
"""How many migrations that version had."""
_WAITING: LiteralString = """
insert into fact_quarantine (table_name, record_id, content, reason, first_attempt, attempts)
select
    'fact_payment',
    payment_record_id + 1,
    to_jsonb(fact_payment) || jsonb_build_object(
        'payment_record_id', payment_record_id + 1, 'transaction_id', 7, 'paid', null
    ),
    'paid is null; dim_transaction has no transaction_id 7; dim_date has no date_id 2030-12-31',
    '2026-11-21 09:30:00.000001+00',
    41
from fact_payment
"""


@pytest.fixture
def installed(empty_warehouse: psycopg.Connection) -> psycopg.Connection:
    """A warehouse with a row in every star table, and a payment that waits."""
    migrate(empty_warehouse, migrations()[:_VERSION])
    fill(empty_warehouse)
    empty_warehouse.execute(_WAITING)
    return empty_warehouse


def waiting(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select table_name, key, reasons, attempts, first_attempt::text, content->>'payment_id' "
        "from waiting_row"
    ).fetchall()


def test_a_row_that_waits_keeps_everything_and_has_its_reasons_as_structure(
    installed: psycopg.Connection,
) -> None:
    migrate(installed, migrations())

    reasons = [
        {"rule": "paid is null"},
        {"rule": "dim_transaction has no transaction_id", "value": "7"},
        {"rule": "dim_date has no date_id", "value": "2030-12-31"},
    ]
    since = "2026-11-21 09:30:00.000001+00"
    assert waiting(installed) == [("fact_payment", "2", reasons, 41, since, "1")]


def test_who_was_granted_the_waiting_rows_still_reads_them_and_nobody_else_does(
    installed: psycopg.Connection,
) -> None:
    installed.execute("create role auditor")
    installed.execute("grant select on fact_quarantine to auditor")

    migrate(installed, migrations())

    query = "select has_table_privilege(%s, 'waiting_row', 'select')"
    assert installed.execute(query, ["auditor"]).fetchone() == (True,)
    assert installed.execute(query, ["totesys_reporting"]).fetchone() == (False,)
    installed.execute("drop owned by auditor; drop role auditor")


def test_a_view_on_the_old_columns_is_named_and_nothing_is_changed(
    installed: psycopg.Connection,
) -> None:
    installed.execute("create view late_facts as select record_id, reason from fact_quarantine")

    with pytest.raises(MigrationFailed, match=r"0004_.*view late_facts depends on column"):
        migrate(installed, migrations())

    assert installed.execute("select record_id from late_facts").fetchall() == [(2,)]
    installed.execute("drop view late_facts")
    assert migrate(installed, migrations())[0].startswith("0004")


def test_a_fact_that_began_to_wait_before_arrives_when_it_can(
    installed: psycopg.Connection, star_lake: StarLake
) -> None:
    installed.execute("""update fact_quarantine set content = content || '{"paid": true}'""")
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {})
    star_lake.add_star_rows("dim_transaction", {"transaction_id": 7}, sequence=2)

    result = load(
        installed, star_lake.lake, LoadRequest("run-2", 2), unchanged, seconds_left=lambda: 60.0
    )

    assert (result.rows, result.facts_waiting) == (2, 0)
    assert waiting(installed) == []
    rows = installed.execute("select payment_record_id, transaction_id from fact_payment")
    assert sorted(rows.fetchall()) == [(1, 1), (2, 7)]
