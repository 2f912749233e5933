"""Tables that a run could not capture: whether the execution has to fail, and what it says."""

import pytest

from lambdas.ingest.tables_not_taken import failure
from pipeline.requests import IngestRequest
from star_schema.tables import star_tables

LOCKED = "lock timeout (55P03); end the session that holds the lock"
STARS = star_tables()


def test_a_table_that_nobody_needs_fails_nothing():
    assert failure(IngestRequest("run"), {"note": LOCKED}, STARS) is None


def test_no_table_not_taken_fails_nothing():
    assert failure(IngestRequest("run", full_refresh=True, verify=True), {}, STARS) is None


def test_a_table_that_star_tables_need_fails_the_execution_which_names_them_and_the_reason():
    found = failure(IngestRequest("run"), {"payment": LOCKED, "note": LOCKED}, STARS)

    assert found is not None
    assert found.error == "TablesNotTaken"
    assert f"payment: {LOCKED}" in found.cause
    assert "fact_payment" in found.cause
    assert "note" not in found.cause
    assert "fact_sales_order" not in found.cause


@pytest.mark.parametrize("star", STARS, ids=lambda star: star.name)
def test_a_star_table_waits_for_each_of_its_sources(star):
    for source in star.sources:
        found = failure(IngestRequest("run"), {source: LOCKED}, STARS)
        assert found is not None
        assert star.name in found.cause


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (IngestRequest("run", verify=True), "not proved equal"),
        (IngestRequest("run", full_refresh=True), "full_refresh is not complete"),
        (IngestRequest("run", full_refresh=("note", "design")), "full_refresh is not complete"),
    ],
)
def test_what_was_asked_of_a_table_not_taken_is_never_a_success(request_, said):
    found = failure(request_, {"note": LOCKED}, STARS)

    assert found is not None
    assert said in found.cause
    assert f"note: {LOCKED}" in found.cause


def test_a_refresh_of_other_tables_is_a_success():
    assert failure(IngestRequest("run", full_refresh=("design",)), {"note": LOCKED}, STARS) is None
