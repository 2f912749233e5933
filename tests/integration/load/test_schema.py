"""The schema that the migrations make, held against what is documented."""

import psycopg

from lambdas.load.catalog import WarehouseColumn, read_star_tables
from tests.fixtures.lake import STAR

_TYPES = {"time": "time without time zone", "varchar": "character varying"}
_DATES = ("created_date", "last_updated_date")
_FOREIGN_KEYS = {
    "fact_sales_order": {
        **dict.fromkeys((*_DATES, "agreed_payment_date", "agreed_delivery_date"), "dim_date"),
        "sales_staff_id": "dim_staff",
        "counterparty_id": "dim_counterparty",
        "currency_id": "dim_currency",
        "design_id": "dim_design",
        "agreed_delivery_location_id": "dim_location",
    },
    "fact_purchase_order": {
        **dict.fromkeys((*_DATES, "agreed_payment_date", "agreed_delivery_date"), "dim_date"),
        "staff_id": "dim_staff",
        "counterparty_id": "dim_counterparty",
        "currency_id": "dim_currency",
        "agreed_delivery_location_id": "dim_location",
    },
    "fact_payment": {
        **dict.fromkeys((*_DATES, "payment_date"), "dim_date"),
        "transaction_id": "dim_transaction",
        "counterparty_id": "dim_counterparty",
        "currency_id": "dim_currency",
        "payment_type_id": "dim_payment_type",
    },
}


def test_the_star_tables_have_the_documented_columns_in_the_documented_order(
    warehouse: psycopg.Connection,
) -> None:
    tables = {table.name: table.columns for table in read_star_tables(warehouse)}

    assert len(tables) == 11
    assert tables == {
        name: tuple(
            WarehouseColumn(column.name, _TYPES.get(column.type, column.type), column.is_required)
            for column in columns
        )
        for name, columns in STAR.items()
    }


def test_a_star_tables_key_is_its_first_column(warehouse: psycopg.Connection) -> None:
    assert {table.name: table.key for table in read_star_tables(warehouse)} == {
        name: columns[0].name for name, columns in STAR.items()
    }


def test_the_24_foreign_keys_are_real(warehouse: psycopg.Connection) -> None:
    tables = read_star_tables(warehouse)

    found = {
        table.name: {reference.column: reference.table for reference in table.references}
        for table in tables
        if table.references
    }
    assert found == _FOREIGN_KEYS
    assert sum(len(references) for references in found.values()) == 24
    keys = {table.name: table.key for table in tables}
    assert all(one.key == keys[one.table] for table in tables for one in table.references)


def test_a_star_table_comes_after_all_that_it_references(warehouse: psycopg.Connection) -> None:
    order = [table.name for table in read_star_tables(warehouse)]

    assert all(
        order.index(referenced) < order.index(fact)
        for fact, references in _FOREIGN_KEYS.items()
        for referenced in references.values()
    )


def test_three_views_show_the_latest_versions_in_the_facts_own_columns(
    warehouse: psycopg.Connection,
) -> None:
    rows = warehouse.execute(
        "select table_name, array_agg(column_name::text order by ordinal_position) "
        "from information_schema.columns where table_name like 'current%' group by 1"
    )

    assert dict(rows.fetchall()) == {
        name.replace("fact_", "current_"): [column.name for column in columns]
        for name, columns in STAR.items()
        if name.startswith("fact_")
    }


def test_views_and_tables_of_the_pipelines_own_say_what_they_are_for(
    warehouse: psycopg.Connection,
) -> None:
    rows = warehouse.execute(
        "select relname::text from pg_class "
        "where relnamespace = 'public'::regnamespace "
        "and obj_description(oid, 'pg_class') is not null"
    )

    assert {row[0] for row in rows} >= {
        "current_sales_order",
        "current_purchase_order",
        "current_payment",
        "pipeline_run",
        "fact_quarantine",
    }
