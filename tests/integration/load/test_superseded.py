"""The marks of the versions that have a newer one."""

import psycopg
import pytest

from pipeline.errors import StarSchemaMismatch
from tests.fixtures.lake import PAYMENT_DIMENSIONS, StarLake, star_row
from tests.integration.load.conftest import AT_ONCE_AND_IN_STEPS, LoadThrough

pytestmark = AT_ONCE_AND_IN_STEPS


def add_versions(lake: StarLake, sequence: int, *versions: tuple[int, int], **values: int) -> None:
    """Adds versions, each a record id and a payment id, as a run brings them."""
    rows = ({"payment_record_id": record, "payment_id": key} for record, key in versions)
    lake.add_star_rows("fact_payment", *({**row, **values} for row in rows), sequence=sequence)


def assert_marked(warehouse: psycopg.Connection, *expected: tuple[int, int]) -> None:
    marks = warehouse.execute("select table_name, record_id, superseded_by from superseded_version")
    assert sorted(marks.fetchall()) == [("fact_payment", *pair) for pair in expected]
    newest = warehouse.execute(
        "select payment_record_id from fact_payment where not is_deleted and not exists ("
        "select from superseded_version where record_id = payment_record_id) order by 1"
    )
    shown = warehouse.execute("select payment_record_id from current_payment order by 1")
    assert newest.fetchall() == shown.fetchall()


def test_each_version_is_marked_with_the_next_one_of_its_key(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    add_versions(star_lake, 1, (1, 7), (2, 8), (3, 9))
    add_versions(star_lake, 2, (4, 7))
    load_through(2)
    assert_marked(warehouse, (1, 4))

    add_versions(star_lake, 3, (5, 7), (6, 9), (7, 10))
    load_through(3)
    load_through(3)

    assert_marked(warehouse, (1, 4), (3, 6), (4, 5))


def test_a_version_that_waited_is_marked_though_it_arrives_after_newer_ones(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    add_versions(star_lake, 1, (1, 7))
    add_versions(star_lake, 1, (2, 7), transaction_id=5)
    add_versions(star_lake, 2, (3, 7))
    load_through(2)
    assert_marked(warehouse, (1, 3))

    star_lake.add_star_rows("dim_transaction", {"transaction_id": 5}, sequence=3)
    load_through(3)

    assert_marked(warehouse, (1, 2), (2, 3))


def test_a_load_writes_no_mark_that_stays_as_it_is(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    add_versions(star_lake, 1, (1, 7), (2, 7), (3, 7))
    load_through(1)
    written = "select record_id, xmin::text from superseded_version where record_id < 3 order by 1"
    before = warehouse.execute(written).fetchall()
    add_versions(star_lake, 2, (4, 7))

    load_through(2)

    assert_marked(warehouse, (1, 2), (2, 3), (3, 4))
    assert (warehouse.execute(written).fetchall(), len(before)) == (before, 2)


def test_a_trigger_that_skips_a_mark_is_named(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    add_versions(star_lake, 1, (1, 7), (2, 8))
    load_through(1)
    warehouse.execute(
        "create function theirs() returns trigger language plpgsql as $$ begin return null; end $$;"
        "create trigger theirs before insert or update on superseded_version for each row "
        "execute function theirs()"
    )
    add_versions(star_lake, 2, (3, 7))
    star_lake.add_star_rows("dim_transaction", {"transaction_id": 5}, sequence=2)

    with pytest.raises(StarSchemaMismatch, match="trigger theirs of superseded_version keeps"):
        load_through(2)

    assert_marked(warehouse)
    shown = warehouse.execute("select count(*) from dim_transaction")
    assert shown.fetchone() == (2,)


def test_a_rebuild_marks_what_the_lake_has(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    add_versions(star_lake, 1, (1, 7), (2, 7), (3, 8), (4, 8))
    load_through(1)
    kept = ((1, 7), (3, 8), (4, 8))
    star_lake.replace(
        "fact_payment",
        *(star_row("fact_payment", payment_record_id=one, payment_id=key) for one, key in kept),
    )

    load_through(1, rebuild=True)

    assert_marked(warehouse, (3, 4))
