"""The schema that the migrations make, compared with the documentation and the declarations."""

import psycopg

from lambdas.load.catalog import WarehouseColumn, read_star_tables
from star_schema.tables import ADDED_COLUMNS, star_tables
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
    tables = {table.name: table.columns for table in read_star_tables(warehouse, star_tables())}

    assert len(tables) == 11
    assert tables == {
        name: tuple(
            WarehouseColumn(column.name, _TYPES.get(column.type, column.type), column.is_required)
            for column in columns
        )
        for name, columns in STAR.items()
    }


_LAKE_TYPES = {
    "integer": "int",
    "numeric": "decimal(38,10)",
    "time without time zone": "string",
    "character varying": "string",
}


def test_the_migrations_make_each_star_table_as_it_is_declared(
    warehouse: psycopg.Connection,
) -> None:
    found = {table.name: table for table in read_star_tables(warehouse, star_tables())}

    for star in star_tables():
        table = found[star.name]
        columns = [(one.name, _LAKE_TYPES.get(one.type, one.type)) for one in table.columns]
        wanted = [(column.name, column.type) for column in star.columns + ADDED_COLUMNS]
        assert columns == [column for column in wanted if column[0] != "_sequence"], star.name
        assert table.key == (star.record_id or star.natural_key)
        assert (table.natural_key, table.is_fact) == (star.natural_key, star.is_fact)
        references = {one.column: one.table for one in table.references}
        declared = {one.name: one.references for one in star.columns if one.references}
        assert references == declared, star.name


def test_tables_of_others_are_no_star_tables_whatever_their_names_and_references(
    warehouse: psycopg.Connection,
) -> None:
    before = read_star_tables(warehouse, star_tables())
    warehouse.execute("create table staff_bonus (staff_id integer references dim_staff)")
    warehouse.execute("create table fact_payment_2025 as select * from fact_payment")
    warehouse.execute("create table dim_target (target_id integer primary key)")
    warehouse.execute("create schema others")
    warehouse.execute("create table others.dim_date (date_id date primary key)")
    warehouse.execute("alter table dim_staff add column target integer references dim_target")

    after = read_star_tables(warehouse, star_tables())

    assert [table.name for table in after] == [table.name for table in before]
    assert [table.references for table in after] == [table.references for table in before]


def test_a_star_tables_key_is_its_first_column(warehouse: psycopg.Connection) -> None:
    assert {table.name: table.key for table in read_star_tables(warehouse, star_tables())} == {
        name: columns[0].name for name, columns in STAR.items()
    }


def test_the_24_foreign_keys_are_real(warehouse: psycopg.Connection) -> None:
    tables = read_star_tables(warehouse, star_tables())

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
    order = [table.name for table in read_star_tables(warehouse, star_tables())]

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
        "waiting_row",
    }
