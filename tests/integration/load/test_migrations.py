"""Migrations of the warehouse."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import sql

from lambdas.load.migrations import Migration, migrate, migrations
from pipeline.database import Role, translated_errors
from pipeline.errors import MigrationFailed, WarehouseBusy
from tests.fixtures.lake import STAR, star_row
from tests.integration.load.conftest import Connect


def tables(connection: psycopg.Connection) -> set[str]:
    rows = connection.execute(
        "select table_name from information_schema.tables where table_schema = 'public'"
    )
    return {row[0] for row in rows}


def schema(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Returns every column, constraint, index, view and right there is."""
    return connection.execute(
        "select table_name::text, column_name::text, "
        "concat_ws(' ', ordinal_position, data_type, is_nullable, column_default) "
        "from information_schema.columns where table_schema = 'public' "
        "union all select conrelid::regclass::text, conname, pg_get_constraintdef(oid) "
        "from pg_constraint where connamespace = 'public'::regnamespace "
        "union all select tablename, indexname, indexdef from pg_indexes "
        "where schemaname = 'public' "
        "union all select viewname, null, definition from pg_views where schemaname = 'public' "
        "union all select relname, 'rights', relacl::text from pg_class "
        "where relnamespace = 'public'::regnamespace "
        "order by 1, 2, 3"
    ).fetchall()


def fill(connection: psycopg.Connection) -> None:
    """Puts a row into every star table, each after those that it references."""
    for table in STAR:
        row = {name: value for name, value in star_row(table).items() if name != "_sequence"}
        connection.execute(
            sql.SQL("insert into {} ({}) values ({})").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, row)),
                sql.SQL(", ").join([sql.Placeholder()] * len(row)),
            ),
            list(row.values()),
        )


def contents(connection: psycopg.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Returns the rows of every table."""
    return {
        table: connection.execute(
            sql.SQL("select * from {}").format(sql.Identifier(table))
        ).fetchall()
        for table in tables(connection)
    }


def test_an_empty_warehouse_gets_every_migration_in_order(
    empty_warehouse: psycopg.Connection,
) -> None:
    applied = migrate(empty_warehouse, migrations())

    recorded = empty_warehouse.execute("select name, checksum from schema_migration order by 1")
    assert recorded.fetchall() == [(step.name, step.checksum) for step in migrations()]
    assert applied == tuple(step.name for step in migrations())


@pytest.mark.parametrize("version", range(1, len(migrations())))
def test_a_warehouse_of_every_earlier_version_becomes_the_newest_and_keeps_its_rows(
    empty_warehouse: psycopg.Connection, version: int
) -> None:
    migrate(empty_warehouse, migrations()[:version])
    fill(empty_warehouse)
    before = contents(empty_warehouse)
    assert set(before) > set(STAR)

    applied = migrate(empty_warehouse, migrations())

    assert applied == tuple(step.name for step in migrations()[version:])
    after = contents(empty_warehouse)
    assert {table: after[table] for table in STAR} == {table: before[table] for table in STAR}
    assert all(len(after[table]) == 1 for table in STAR)
    earlier = schema(empty_warehouse)
    empty_warehouse.execute("drop schema public cascade; create schema public")
    migrate(empty_warehouse, migrations())
    assert earlier == schema(empty_warehouse)


def test_a_warehouse_that_is_up_to_date_is_left_alone(warehouse: psycopg.Connection) -> None:
    before = warehouse.execute("select xmin, * from schema_migration").fetchall()

    assert migrate(warehouse, migrations()) == ()
    assert warehouse.execute("select xmin, * from schema_migration").fetchall() == before


def test_only_the_new_migration_is_applied(warehouse: psycopg.Connection) -> None:
    new = Migration("0099_note.sql", "create table note (text varchar)", "1")

    assert migrate(warehouse, (*migrations(), new)) == ("0099_note.sql",)
    assert "note" in tables(warehouse)


def test_a_migration_that_was_changed_after_it_had_been_applied_is_refused(
    warehouse: psycopg.Connection,
) -> None:
    first, *others = migrations()
    changed = Migration(first.name, first.statements, "another")
    new = Migration("0099_note.sql", "create table note (text varchar)", "1")

    with pytest.raises(MigrationFailed, match=f"{first.name} was changed after"):
        migrate(warehouse, (changed, *others, new))

    assert "note" not in tables(warehouse)


def test_a_migration_that_fails_leaves_nothing_of_any(empty_warehouse: psycopg.Connection) -> None:
    broken = Migration(
        "0099_broken.sql", "create table half (); alter table absent add column a int", "1"
    )

    with pytest.raises(MigrationFailed, match=r'0099_broken.sql: relation "absent" does not exist'):
        migrate(empty_warehouse, (*migrations(), broken))

    assert tables(empty_warehouse) == set()


def test_a_migration_that_meets_a_lock_can_be_tried_again(
    warehouse: psycopg.Connection, connect: Connect
) -> None:
    new = Migration("0099_note.sql", "alter table dim_staff add column note varchar", "1")
    warehouse.execute("set lock_timeout = '50ms'")

    with connect().transaction() as held:
        held.connection.execute("lock table dim_staff")
        with (
            pytest.raises(WarehouseBusy, match="lock timeout"),
            translated_errors(Role.WAREHOUSE),
        ):
            migrate(warehouse, (*migrations(), new))

    assert migrate(warehouse, (*migrations(), new)) == ("0099_note.sql",)


def test_of_two_that_migrate_at_once_one_applies_everything(connect: Connect) -> None:
    with ThreadPoolExecutor() as pool:
        applied = list(pool.map(lambda one: migrate(one, migrations()), (connect(), connect())))

    assert sorted(applied) == [(), tuple(step.name for step in migrations())]
