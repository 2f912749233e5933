"""Deletions are told by the declared natural key, whatever primary key the source has."""

from dataclasses import replace
from typing import Any

import pytest

from lambdas.ingest import planning
from pipeline.manifest import Capture
from star_schema.sources import declared_source
from tests.integration.ingest.ingestion import Ingestion, captures

PAYMENTS = """create table payment (
    payment_id integer primary key,
    company_ac_number integer not null,
    paid boolean not null
)"""


@pytest.fixture
def payments(ingestion: Ingestion) -> Ingestion:
    """A source of three payments, which a first run has taken."""
    ingestion.execute(
        PAYMENTS, "insert into payment values (1, 70, false), (2, 60, false), (3, 50, false)"
    )
    ingestion.run()
    return ingestion


@pytest.mark.parametrize(
    "primary_key",
    [
        "add primary key (company_ac_number, payment_id)",
        "add primary key (payment_id, company_ac_number)",
        "add primary key (company_ac_number)",
        "add primary key (payment_id) include (company_ac_number)",
        "add primary key (payment_id) deferrable initially deferred",
        "add unique (payment_id)",
        "alter column payment_id drop not null",
    ],
)
def test_a_changed_primary_key_does_not_change_what_tells_a_deletion(
    payments: Ingestion, primary_key: Any
) -> None:
    payments.execute(
        "alter table payment drop constraint payment_pkey", f"alter table payment {primary_key}"
    )
    payments.run()
    payments.execute("delete from payment where payment_id = 2")

    payments.run()

    assert payments.swept("payment") == [{"payment_id": 1}, {"payment_id": 3}]


def test_a_table_without_a_declaration_is_swept_by_its_primary_key(ingestion: Ingestion) -> None:
    ingestion.execute(
        "create table pair (a integer, b integer, primary key (b, a))",
        "insert into pair values (1, 2), (3, 4)",
    )
    ingestion.run()
    ingestion.execute("delete from pair where a = 1")

    ingestion.run()

    assert ingestion.swept("pair") == [{"a": 3, "b": 4}]
    assert ingestion.manifest().tables["pair"].natural_key == ("b", "a")


def test_a_key_that_a_declaration_changed_takes_the_table_whole(
    payments: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    redeclared = replace(declared_source("payment"), natural_key="company_ac_number")
    monkeypatch.setattr(planning, "source_declaration", lambda _: redeclared)

    assert captures(payments.run()) == {"payment": (Capture.WHOLE, 3)}
    assert payments.manifest().tables["payment"].natural_key == ("company_ac_number",)
