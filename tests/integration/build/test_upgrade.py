"""A star schema built of the raw zone that version 2703f70 left."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from tests.integration.build.world import STARS, Business, Star
from tests.oracle.star import DIMENSION_KEYS, RECORD_IDS, Rows

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LOADED_THROUGH = 3


def warehouse_rows(dsn: str, table: str, key: str) -> Rows:
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        query = sql.SQL("select * from {}").format(sql.Identifier(table))
        return {row[key]: row for row in connection.execute(query)}


def waiting(dsn: str) -> set[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select table_name, record_id from fact_quarantine")
        return set(rows.fetchall())


def test_a_build_from_the_raw_zone_of_an_earlier_version_gives_its_rows_with_its_record_ids(
    installed_raw_bucket: str,
    installed_warehouse: str,
    s3: "S3Client",
    new_star: Callable[[Business], Star],
) -> None:
    business = Business("", installed_raw_bucket, s3)
    star = new_star(business)

    star.build(*STARS, through=LOADED_THROUGH)

    waits = waiting(installed_warehouse)
    assert len(waits) == 3
    for table, key in RECORD_IDS.items():
        built = star.fact(table)
        loaded = {number: row for number, row in built.items() if (table, number) not in waits}
        assert loaded == warehouse_rows(installed_warehouse, table, key)
    for table, key in DIMENSION_KEYS.items():
        assert star.dimension(table) == warehouse_rows(installed_warehouse, table, key)
