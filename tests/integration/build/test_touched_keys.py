"""What an incremental build reads follows what changed, not what the table holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, pairwise
from typing import LiteralString
from urllib.parse import urlsplit

import pytest
from pyiceberg.catalog import Catalog
from pyspark.sql import SparkSession

from glue_jobs.build import lake, reading
from glue_jobs.build.bounds import within_bounds
from glue_jobs.build.key_ranges import NEAR, RANGES, among, near, within_ranges
from glue_jobs.build.lake import LakeTable
from glue_jobs.build.raw_files import prepare
from glue_jobs.build.reading import StarReader
from tests.integration.build.world import Business, Star, frame

NEW_ROWS: tuple[LiteralString, ...] = (
    "insert into transaction (transaction_id, transaction_type, sales_order_id) "
    "select 9000 + n, 'SALE', 1 from generate_series(1, 3) as n",
    "insert into payment (payment_id, transaction_id, counterparty_id, payment_amount, "
    "currency_id, payment_type_id, paid, payment_date, company_ac_number, counterparty_ac_number) "
    "select 9000 + n, 9000 + n, 1, 10, 1, 1, false, '2024-02-03', 1, 1 "
    "from generate_series(1, 3) as n",
)


@contextmanager
def without_files(business: Business, locations: set[str]) -> Iterator[None]:
    """Takes files out of the lake, and puts them back."""
    client, held = business.client, []
    for place in map(urlsplit, locations):
        bucket, key = place.netloc, place.path.lstrip("/")
        held.append((bucket, key, client.get_object(Bucket=bucket, Key=key)["Body"].read()))
        client.delete_object(Bucket=bucket, Key=key)
    try:
        yield
    finally:
        for bucket, key, body in held:
            client.put_object(Bucket=bucket, Key=key, Body=body)


UPDATE_PAYMENT: LiteralString = "update payment set payment_amount = 20 where payment_id = 9001"
UPDATE_TRANSACTION: LiteralString = (
    "update transaction set transaction_type = 'PURCHASE' where transaction_id = 9001"
)
ADD_TRANSACTION: LiteralString = (
    "insert into transaction (transaction_id, transaction_type, sales_order_id) "
    "values (9010, 'SALE', 1)"
)


@pytest.mark.parametrize(
    ("table", "source", "change", "small_rows"),
    [
        ("fact_payment", "payment", UPDATE_PAYMENT, 0),
        ("fact_payment", "payment", UPDATE_PAYMENT, 1000),
        ("dim_transaction", "transaction", UPDATE_TRANSACTION, 0),
        ("dim_transaction", "transaction", ADD_TRANSACTION, 0),
        ("dim_transaction", "transaction", ADD_TRANSACTION, 1000),
    ],
)
def test_a_build_reads_no_file_of_keys_that_did_not_change(
    business: Business,
    star: Star,
    table: str,
    source: str,
    change: LiteralString,
    small_rows: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lake, "SMALL_TABLE_ROWS", small_rows)
    monkeypatch.setattr(lake, "TINY_TABLE_ROWS", 0)
    business.run()
    star.build(table)
    of_other_keys = star.files(table)
    for statement in NEW_ROWS:
        business.execute(statement)
    business.run()
    star.build(table)
    business.execute(change)
    business.run()
    assert not business.store.read(3).tables[source].keys_swept

    with without_files(business, of_other_keys):
        rows = star.build(table)

    assert rows == {table: 1}
    assert of_other_keys < star.files(table)
    assert star.differences(table) == []


PAY_LATER: LiteralString = (
    "update payment set payment_amount = payment_amount + 1, last_updated = '2040-05-06' "
    "where payment_id in (2, 5)"
)


def test_a_build_reads_no_file_of_versions_that_have_other_dates(
    business: Business, star: Star, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake, "SMALL_TABLE_ROWS", 0)
    monkeypatch.setattr(reading, "FEW_VERSIONS", 0)
    business.run()
    star.build("fact_payment")
    before = star.files("fact_payment")
    business.execute(PAY_LATER)
    business.run()

    with without_files(business, before):
        rows = star.build("fact_payment")

    assert rows == {"fact_payment": 2}
    assert star.differences("fact_payment") == []


def test_a_row_that_is_again_as_it_was_is_a_new_version_whatever_its_dates_are(
    business: Business, star: Star, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake, "SMALL_TABLE_ROWS", 0)
    monkeypatch.setattr(reading, "FEW_VERSIONS", 0)
    monkeypatch.setattr(reading, "MOST_LOOKED_AT", 1)
    back = (
        "update payment set payment_amount = payment_amount - 1, last_updated = created_at "
        "where payment_id in (2, 5)"
    )
    business.execute("update payment set last_updated = created_at where payment_id in (2, 5)")
    business.run()
    star.build("fact_payment")

    for change in (PAY_LATER, back, PAY_LATER):
        business.execute(change)
        # These are captured as well, but their content is the same.
        business.execute("update payment set paid = paid where payment_id in (3, 4)")
        business.run()
        assert star.build("fact_payment") == {"fact_payment": 2}

    assert len(star.history("fact_payment", 2)) == 4
    assert star.differences("fact_payment") == []


@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamp_ntz"])
def test_bounds_are_met_by_what_they_are_of(spark: SparkSession, kind: str) -> None:
    session = prepare(spark.newSession())
    instants = (
        "-4712-01-01",
        "0001-01-01 00:00:00.000001",
        "1969-12-31 23:59:59.999999",
        "2024-02-29 12:00:00",
        "2024-03-31 02:30:00.5",
        "9999-12-31 23:59:59.999999",
        "+11000-01-01",
    )
    made = ", ".join(f"cast(timestamp_ntz'{one}' as {kind})" for one in instants)
    rows = session.sql(f"select explode(array({made}, null)) as `a day`, 'x' as text")

    for met in (rows, rows.where("`a day` is not null"), rows.where("`a day` is null")):
        assert met.where(within_bounds(met)).count() == met.count()
    for one in instants:
        bound = rows.where(f"`a day` = cast(timestamp_ntz'{one}' as {kind})")
        assert rows.where(within_bounds(bound)).exceptAll(bound).isEmpty()
        assert bound.where(within_bounds(bound)).count() == 1
    assert within_bounds(rows.select("text")) == "true"


@pytest.mark.parametrize("way", ["beside its file", "too many keys", "too many rows"])
def test_few_changed_rows_leave_the_files_of_a_large_dimension(
    business: Business, star: Star, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake, "SMALL_TABLE_ROWS", 0)
    monkeypatch.setattr(lake, "MOST_DELETED", 0 if way == "too many rows" else 1)
    monkeypatch.setattr(lake, "MOST_KEYS_LISTED", 1 if way == "too many keys" else 2)
    business.run()
    star.build("dim_transaction")
    before = star.files("dim_transaction")
    business.execute(
        "update transaction set transaction_type = 'PURCHASE' where transaction_id in (2, 3)"
    )
    business.run()

    rows = star.build("dim_transaction")

    assert rows == {"dim_transaction": 2}
    assert (before < star.files("dim_transaction")) == (way == "beside its file")
    assert star.differences("dim_transaction") == []


SAME: LiteralString = "update transaction set transaction_type = transaction_type"
OTHER: LiteralString = (
    "update transaction set transaction_type = 'PURCHASE', sales_order_id = null, "
    "purchase_order_id = 1 where transaction_id = 2"
)
BACK: LiteralString = (
    "update transaction set transaction_type = 'SALE', sales_order_id = 1, "
    "purchase_order_id = null where transaction_id = 2"
)


@pytest.mark.parametrize("answers", [(True,), (True, False)], ids=["few rows", "more than thought"])
def test_rows_that_are_alike_to_a_large_dimension_s_stay_as_they_are(
    business: Business,
    star: Star,
    lake_catalog: Catalog,
    answers: tuple[bool, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = cycle(answers)
    monkeypatch.setattr(lake, "SMALL_TABLE_ROWS", 0)
    monkeypatch.setattr(LakeTable, "keeps_files", lambda *_: next(given))
    monkeypatch.setattr(StarReader, "known", None)
    business.execute(BACK)
    business.run()
    star.build("dim_transaction")

    def built(*runs: LiteralString) -> int:
        for change in runs:
            business.execute(SAME)
            business.execute(change)
            business.run()
        return star.build("dim_transaction")["dim_transaction"]

    assert built(SAME) == 0
    snapshot = lake_catalog.load_table((star.database, "dim_transaction")).current_snapshot()
    assert snapshot
    assert snapshot.summary
    assert snapshot.summary["applied-through"] == "2"
    assert built(OTHER) == 1
    assert built(BACK, OTHER) == 1
    assert built(SAME, BACK) == 1
    assert star.differences("dim_transaction") == []


def test_keys_of_any_type_are_among_themselves_alone(spark: SparkSession) -> None:
    session = prepare(spark.newSession())
    texts = frame(session, [("it's",), ("a\\b",), ("",), ("${user.name}",)], "k string")
    days = session.sql("select explode(sequence(date'2024-01-30', date'2024-02-02')) as k")
    numbers = session.range(-20, 20).toDF("k")

    for keys in (texts, days, numbers):
        more = keys.unionByName(keys.selectExpr(f"cast('2030' as {keys.dtypes[0][1]}) as k"))
        assert more.where(among(keys, "k")).exceptAll(keys).isEmpty()
        assert keys.exceptAll(more.where(among(keys, "k"))).isEmpty()


@pytest.mark.parametrize("count", [1, RANGES, 50 * RANGES])
def test_ranges_hold_every_key_and_leave_out_what_is_between(
    spark: SparkSession, count: int
) -> None:
    low, high = range(count // 2), range(1_000_000, 1_000_000 + count - count // 2)
    keys = frame(spark, [(key,) for key in (*low, *high)], "order_id int")

    condition = within_ranges(keys, "number")

    numbers = spark.range(2_000_000).toDF("number").where(condition)
    met = {row.number for row in numbers.collect()}
    assert condition.count("between") <= RANGES
    assert met >= {*low, *high}
    assert len(met) <= count + (1_000_000 if count > RANGES else 0)


@pytest.mark.parametrize("kind", ["smallint", "int", "bigint"])
def test_a_map_leaves_out_most_of_what_is_not_near_a_number(spark: SparkSession, kind: str) -> None:
    width = {"smallint": 2**16, "int": 2**32, "bigint": 2**63}[kind]
    ends = [-width // 2, width // 2 - 1]
    numbers = sorted({*ends, *range(ends[0], ends[1], width // 1000), -1, 0, 1, 63, 64})
    keys = frame(spark, [(number,) for number in numbers], f"order_id {kind}")
    others = spark.range(ends[0] // 3, ends[1] // 3, width // 9_973).selectExpr(
        f"cast(id as {kind}) as order_id"
    )

    found = keys.unionByName(others).where(near(keys, "order_id")).distinct()

    assert keys.exceptAll(found).isEmpty()
    assert found.count() < len(numbers) + others.count() / 20


def test_scattered_numbers_are_one_range(spark: SparkSession) -> None:
    keys = spark.range(-3 * NEAR, 200 * NEAR, NEAR).unionByName(spark.range(1, 2)).toDF("order_id")

    assert within_ranges(keys, "k").count("between") == 1
    assert keys.count() == keys.where(within_ranges(keys, "order_id")).count() == 204


def test_the_widest_gaps_part_the_ranges_of_numbers(spark: SparkSession) -> None:
    ends = [n * 10 * NEAR + (NEAR if n % 2 else -NEAR) for n in range(2 * RANGES)]
    keys = frame(spark, [(key,) for key in ends], "order_id bigint")

    condition = within_ranges(keys, "order_id")

    assert keys.where(condition).count() == len(ends)
    found = frame(
        spark, [((a + b) // 2, b - a) for a, b in pairwise(ends)], "order_id bigint, gap bigint"
    )
    assert {row.gap for row in found.where(f"not ({condition})").collect()} == {12 * NEAR}
    assert found.where(f"not ({condition})").count() == RANGES - 1


def test_ranges_are_of_any_type(spark: SparkSession) -> None:
    texts = ["it's", "a\\b", "", "plain"]
    keys = frame(spark, [(text,) for text in texts], "code string")

    found = keys.where(within_ranges(keys, "code"))

    assert {row.code for row in found.collect()} == set(texts)


def test_no_keys_are_in_no_range(spark: SparkSession) -> None:
    assert within_ranges(frame(spark, [], "order_id int"), "order_id") == "false"
