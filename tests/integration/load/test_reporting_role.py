"""The role that reports, and what it may read."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from lambdas.load.migrations import Migration, migrate, migrations
from tests.fixtures.lake import STAR
from tests.integration.load.conftest import Connect

ROLE = "totesys_reporting"
LOADER = "loader_without_createrole"
RUNS = {
    "captured_run",
    "load_position",
    "pipeline_run",
    "superseded_version",
    "waiting_rule",
    "warehouse_freshness",
}
SHOWN = {*STAR, *(f"current_{name[5:]}" for name in STAR if name.startswith("fact_"))}


def has_role(connection: psycopg.Connection) -> bool:
    row = connection.execute("select exists (select from pg_roles where rolname = %s)", [ROLE])
    return row.fetchone() == (True,)


def readable(connection: psycopg.Connection) -> set[str]:
    rows = connection.execute(
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace "
        "and relkind in ('r', 'v') and has_table_privilege(%s, oid, 'select')",
        [ROLE],
    )
    return {row[0] for row in rows}


@pytest.fixture
def without_role(empty_warehouse: psycopg.Connection) -> psycopg.Connection:
    """A connection to an empty database on a server without the role."""
    empty_warehouse.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(ROLE)))
    return empty_warehouse


@pytest.fixture
def loader(without_role: psycopg.Connection, connect: Connect) -> Iterator[psycopg.Connection]:
    """A connection as a user who may make tables but no roles."""
    name = sql.Identifier(LOADER)
    without_role.execute(sql.SQL("create role {}").format(name))
    without_role.execute(sql.SQL("grant create, usage on schema public to {}").format(name))
    connection = connect()
    connection.execute(sql.SQL("set session authorization {}").format(name))
    yield connection
    connection.close()
    without_role.execute(sql.SQL("drop owned by {}").format(name))
    without_role.execute(sql.SQL("drop role {}").format(name))


def test_the_role_reads_the_star_schema_and_its_runs_and_nothing_else(
    without_role: psycopg.Connection, connect: Connect
) -> None:
    migrate(without_role, migrations())

    assert readable(without_role) == SHOWN | RUNS
    reader = connect()
    reader.execute(sql.SQL("set session authorization {}").format(sql.Identifier(ROLE)))
    assert reader.execute("select count(*) from current_payment").fetchone() == (0,)
    for refused in (
        "select from waiting_row",
        "delete from fact_payment",
        "insert into pipeline_run values (1, 'run-1')",
        "create table mine ()",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(refused.encode())


def test_the_role_reads_what_later_migrations_add(without_role: psycopg.Connection) -> None:
    later = Migration(
        "0099_region.sql",
        "create table dim_region (region_id integer primary key); "
        "create view current_region as select * from dim_region",
        "1",
    )
    migrate(without_role, migrations())

    migrate(without_role, (*migrations(), later))

    assert readable(without_role) == SHOWN | RUNS | {"dim_region", "current_region"}


def test_a_role_that_is_there_already_gets_the_same_rights(
    without_role: psycopg.Connection,
) -> None:
    without_role.execute(sql.SQL("create role {} login").format(sql.Identifier(ROLE)))

    migrate(without_role, migrations())

    assert readable(without_role) == SHOWN | RUNS


def test_a_loader_that_may_not_create_roles_migrates_all_the_same(
    loader: psycopg.Connection,
) -> None:
    assert migrate(loader, migrations()) == tuple(step.name for step in migrations())
    assert not has_role(loader)


def test_a_loader_that_may_not_create_roles_grants_to_the_one_that_is_there(
    without_role: psycopg.Connection, loader: psycopg.Connection
) -> None:
    without_role.execute(sql.SQL("create role {}").format(sql.Identifier(ROLE)))

    migrate(loader, migrations())

    assert readable(loader) == SHOWN | RUNS
