"""Whatever the lake can hold arrives as it is: rows against the warehouse, by generated rows."""

import datetime
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.rows import dict_row
from pyiceberg.catalog.glue import GlueCatalog

from lambdas.load.lake import Lake
from lambdas.load.load import load
from pipeline.requests import LoadRequest
from tests.fixtures.lake import DAY, PAYMENT_DIMENSIONS, STAR, StarLake, star_row
from tests.integration.load.conftest import unchanged

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_glue.type_defs import TableInputTypeDef

INTEGERS = st.integers(-(2**31), 2**31 - 1)
# Whatever PostgreSQL holds as text: all of Unicode but the character zero.
TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
) | st.sampled_from(["", "null", "None", "\\N", "\\.", '"', '""', "\r\n", "007", "O'Neil", " "])
DECIMALS = st.builds(
    lambda sign, digits: Decimal((sign, digits, -10)),
    st.integers(0, 1),
    st.lists(st.integers(0, 9), min_size=1, max_size=38).map(tuple),
)


@st.composite
def locations(draw: st.DrawFn) -> list[dict[str, Any]]:
    keys = draw(st.lists(INTEGERS, min_size=5, max_size=15, unique=True))
    columns = [one for one in STAR["dim_location"] if one.type == "varchar"]
    return [
        star_row("dim_location", location_id=key, is_deleted=draw(st.booleans()))
        | {one.name: draw(TEXTS if one.is_required else st.none() | TEXTS) for one in columns}
        for key in keys
    ]


@st.composite
def transactions(draw: st.DrawFn) -> list[dict[str, Any]]:
    return [
        star_row(
            "dim_transaction",
            transaction_id=key,
            sales_order_id=draw(st.none() | INTEGERS),
            purchase_order_id=draw(st.none() | INTEGERS),
        )
        for key in draw(st.lists(INTEGERS, min_size=1, max_size=10, unique=True))
    ]


@st.composite
def payments(draw: st.DrawFn, transaction_ids: list[int]) -> list[dict[str, Any]]:
    keys = st.integers(-(2**63), 2**63 - 1)
    return [
        star_row(
            "fact_payment",
            payment_record_id=key,
            payment_id=draw(INTEGERS),
            created_time=draw(st.times()).isoformat(timespec="microseconds"),
            transaction_id=draw(st.sampled_from(transaction_ids)),
            payment_amount=draw(DECIMALS),
            paid=draw(st.booleans()),
            payment_date=draw(st.dates()),
            is_deleted=draw(st.booleans()),
        )
        for key in draw(st.lists(keys, min_size=5, max_size=15, unique=True))
    ]


@st.composite
def stars(draw: st.DrawFn) -> dict[str, list[dict[str, Any]]]:
    """A small star schema whose references all hold."""
    named = draw(transactions())
    facts = draw(payments([row["transaction_id"] for row in named]))
    days = {DAY} | {row["payment_date"] for row in facts}
    return {
        "dim_date": [star_row("dim_date", date_id=day) for day in sorted(days)],
        "dim_location": draw(locations()),
        "dim_transaction": named,
        "fact_payment": facts,
    }


def shown(connection: psycopg.Connection, table: str) -> dict[Any, dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(sql.SQL("select * from {}").format(sql.Identifier(table)))
        return {row[STAR[table][0].name]: row for row in rows}


def expected(table: str, rows: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """Returns the rows as the warehouse is to have them."""
    times = [column.name for column in STAR[table] if column.type == "time"]
    wanted: dict[Any, dict[str, Any]] = {}
    for row in rows:
        without = {name: value for name, value in row.items() if name != "_sequence"}
        wanted[row[STAR[table][0].name]] = without | {
            name: datetime.time.fromisoformat(row[name]) for name in times
        }
    return wanted


@given(star=stars())
@settings(
    max_examples=6,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_the_warehouse_has_exactly_the_lakes_rows(
    warehouse: psycopg.Connection,
    lake_catalog: GlueCatalog,
    glue: "GlueClient",
    star_templates: Mapping[str, "TableInputTypeDef"],
    star: dict[str, list[dict[str, Any]]],
) -> None:
    database = f"star_{uuid.uuid4().hex[:12]}"
    glue.create_database(DatabaseInput={"Name": database})
    star_lake = StarLake(Lake(lake_catalog, database), glue, star_templates)
    for table, rows in star.items():
        star_lake.add(table, *rows)
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)

    request = LoadRequest("run-1", 1, rebuild=True)
    result = load(warehouse, star_lake.lake, request, unchanged, seconds_left=lambda: 60.0)

    assert result.facts_waiting == 0
    for table, rows in star.items():
        assert shown(warehouse, table) == expected(table, rows)
