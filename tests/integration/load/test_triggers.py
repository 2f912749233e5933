"""Triggers, rules and policies of others, which skip or change what Load writes."""

import re
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from lambdas.load.show import LoadedTable
from pipeline.errors import StarSchemaMismatch
from tests.fixtures.lake import PAYMENT_DIMENSIONS, StarLake, star_row
from tests.integration.load.conftest import (
    AT_ONCE_AND_IN_STEPS,
    REFERENCE_DIMENSIONS,
    LoadThrough,
)


def attach(connection: psycopg.Connection, trigger: LiteralString, body: LiteralString) -> None:
    """Creates a trigger `theirs` and its function."""
    connection.execute(
        sql.SQL(
            "create function theirs() returns trigger language plpgsql as $$ begin {} end $$; "
            "create {} execute function theirs()"
        ).format(sql.SQL(body), sql.SQL(trigger))
    )


def held(connection: psycopg.Connection, query: LiteralString) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


CODES: LiteralString = "select currency_id, currency_code from dim_currency order by 1"
WAITING: LiteralString = (
    "select table_name, key, reasons -> 0 ->> 'rule' from waiting_row order by 1, 2"
)


@pytest.fixture
def currencies(star_lake: StarLake) -> StarLake:
    """A lake with two currencies and a design."""
    star_lake.add_star_rows(
        "dim_currency",
        {"currency_id": 1, "currency_code": "EUR"},
        {"currency_id": 2, "currency_code": "GBP"},
    )
    star_lake.add_star_rows("dim_design", {})
    return star_lake


@AT_ONCE_AND_IN_STEPS
def test_an_update_that_a_trigger_skips_waits_and_the_last_state_stays(
    warehouse: psycopg.Connection, currencies: StarLake, load_through: LoadThrough
) -> None:
    load_through(1)
    attach(
        warehouse,
        "trigger theirs before update on dim_currency for each row",
        "if new.currency_id = 1 then return null; end if; return new;",
    )
    currencies.add_star_rows(
        "dim_currency",
        {"currency_id": 1, "currency_code": "CHF"},
        {"currency_id": 2, "currency_code": "USD"},
        {"currency_id": 3, "currency_code": "SEK"},
        sequence=2,
    )

    result = load_through(2)

    assert LoadedTable("dim_currency", 1, 1, waiting=1) in result.tables
    assert held(warehouse, CODES) == [(1, "EUR"), (2, "USD"), (3, "SEK")]
    assert held(warehouse, WAITING) == [("dim_currency", "1", "trigger theirs skips the row")]
    warehouse.execute("drop trigger theirs on dim_currency")
    assert load_through(2).dimension_rows_waiting == 0
    assert held(warehouse, CODES)[0] == (1, "CHF")


CHANGES: dict[str, tuple[LiteralString, LiteralString]] = {
    "a value before an insert": (
        "trigger theirs before insert on dim_currency for each row",
        "new.currency_code = lower(new.currency_code); return new;",
    ),
    "a value before an update": (
        "trigger theirs before update on dim_currency for each row",
        "new.currency_code = lower(new.currency_code); return new;",
    ),
    "a key": (
        "trigger theirs before insert on dim_currency for each row",
        "new.currency_id = new.currency_id + 100; return new;",
    ),
    "a row after it": (
        "trigger theirs after insert or update on dim_currency for each row",
        "update dim_currency set currency_name = 'x' where currency_id = new.currency_id "
        "and currency_name <> 'x'; return null;",
    ),
    "rows after the statement": (
        "trigger theirs after insert on dim_currency for each statement",
        "delete from dim_currency where currency_id > 1; return null;",
    ),
    "rows at the commit": (
        "constraint trigger theirs after insert or update on dim_currency "
        "deferrable initially deferred for each row",
        "delete from dim_currency where currency_id = new.currency_id; return null;",
    ),
    "one row while it skips another": (
        "trigger theirs before insert or update on dim_currency for each row",
        "if new.currency_id = 1 then return null; end if; "
        "new.currency_code = lower(new.currency_code); return new;",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_trigger_that_changes_rows_leaves_its_table_as_it_was_and_is_named(
    warehouse: psycopg.Connection, currencies: StarLake, load_through: LoadThrough, change: str
) -> None:
    load_through(1)
    before = held(warehouse, CODES)
    attach(warehouse, *CHANGES[change])
    currencies.add_star_rows(
        "dim_currency",
        *({"currency_id": key, "currency_code": "CHF"} for key in (1, 2, 3)),
        sequence=2,
    )
    currencies.add_star_rows("dim_design", {"design_id": 2}, sequence=2)

    with pytest.raises(
        StarSchemaMismatch, match="trigger theirs of dim_currency changes or removes rows"
    ):
        load_through(2)

    assert held(warehouse, CODES) == before
    assert held(warehouse, "select count(*) from dim_design") == [(2,)]
    positions = dict(held(warehouse, "select table_name, sequence from load_position"))
    assert (positions["dim_currency"], positions["dim_design"]) == (1, 2)
    warehouse.execute("drop trigger theirs on dim_currency")
    assert load_through(2).rows == 3


def test_a_trigger_of_one_table_that_changes_another_undoes_the_whole_load(
    warehouse: psycopg.Connection, currencies: StarLake, load_through: LoadThrough
) -> None:
    attach(
        warehouse,
        "trigger theirs after insert on dim_design for each row",
        "update dim_currency set currency_name = 'theirs'; return null;",
    )

    with pytest.raises(
        StarSchemaMismatch,
        match=r"trigger theirs of dim_design changes or removes rows .* dim_currency",
    ):
        load_through(1)

    assert held(warehouse, CODES) == []


def test_a_rule_that_the_upsert_does_not_allow_is_named(
    warehouse: psycopg.Connection, currencies: StarLake, load_through: LoadThrough
) -> None:
    warehouse.execute("create rule theirs as on update to dim_currency do also notify changed")

    with pytest.raises(StarSchemaMismatch, match="it has rule theirs"):
        load_through(1)

    assert held(warehouse, CODES) == []
    assert held(warehouse, "select count(*) from dim_design") == [(1,)]


@pytest.mark.parametrize(("condition", "shown"), [("", []), ("where new.currency_id = 2", [1])])
def test_rows_that_a_rule_skips_wait(
    warehouse: psycopg.Connection,
    currencies: StarLake,
    load_through: LoadThrough,
    condition: LiteralString,
    shown: list[int],
) -> None:
    warehouse.execute(
        sql.SQL("create rule theirs as on insert to dim_currency {} do instead nothing").format(
            sql.SQL(condition)
        )
    )

    result = load_through(1)

    assert LoadedTable("dim_currency", len(shown), 0, waiting=2 - len(shown)) in result.tables
    assert [row[0] for row in held(warehouse, CODES)] == shown
    assert held(warehouse, WAITING)[-1] == ("dim_currency", "2", "rule theirs skips the row")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "alter table dim_currency alter currency_id add generated always as identity",
            'cannot insert a non-DEFAULT value into column "currency_id"',
        ),
        (
            "alter table dim_currency drop currency_name, add currency_name varchar "
            "generated always as (currency_code) stored",
            'cannot insert a non-DEFAULT value into column "currency_name"',
        ),
    ],
)
def test_a_column_whose_values_the_warehouse_makes_is_named(
    warehouse: psycopg.Connection,
    currencies: StarLake,
    load_through: LoadThrough,
    change: LiteralString,
    words: str,
) -> None:
    warehouse.execute(change)

    with pytest.raises(StarSchemaMismatch, match=words):
        load_through(1)

    assert held(warehouse, CODES) == []


DELETIONS: dict[str, LiteralString] = {
    "a trigger": "create function keep() returns trigger language plpgsql as "
    "$$ begin return null; end $$; "
    "create trigger theirs before delete on {} for each row execute function keep()",
    "a rule": "create rule theirs as on delete to {} do instead nothing",
}


@pytest.mark.parametrize("kind", DELETIONS)
@pytest.mark.parametrize("table", ["fact_payment", "dim_currency"])
def test_what_keeps_rows_that_a_rebuild_deletes_is_named(
    warehouse: psycopg.Connection,
    star_lake: StarLake,
    load_through: LoadThrough,
    table: str,
    kind: str,
) -> None:
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("dim_currency", {"currency_id": 2})
    star_lake.add_star_rows("fact_payment", {}, {"payment_record_id": 2})
    load_through(1)
    warehouse.execute(sql.SQL(DELETIONS[kind]).format(sql.Identifier(table)))
    star_lake.replace(table, star_row(table))

    with pytest.raises(StarSchemaMismatch, match=f"theirs of {table} keeps rows"):
        load_through(1, rebuild=True)

    counted = sql.SQL("select count(*) from {}").format(sql.Identifier(table))
    assert warehouse.execute(counted).fetchone() == (2,)


@pytest.mark.parametrize("table", ["waiting_row", "load_position", "pipeline_run"])
def test_a_trigger_that_skips_what_a_load_notes_of_itself_is_named(
    warehouse: psycopg.Connection, currencies: StarLake, load_through: LoadThrough, table: str
) -> None:
    attach(
        warehouse,
        sql.SQL("trigger theirs before insert or update on {} for each row")
        .format(sql.Identifier(table))
        .as_string(warehouse),
        "return null;",
    )
    currencies.add_star_rows("dim_currency", {"currency_id": 3, "currency_name": None})

    with pytest.raises(StarSchemaMismatch, match=f"trigger theirs of {table} keeps"):
        load_through(1)

    assert held(warehouse, CODES) == []


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_trigger_that_keeps_rows_waiting_which_are_shown_or_gone_is_named(
    warehouse: psycopg.Connection, currencies: StarLake, load_through: LoadThrough, rebuild: bool
) -> None:
    load_through(1)
    currencies.add_star_rows("dim_currency", {"currency_id": 1, "currency_name": None}, sequence=2)
    load_through(2)
    attach(warehouse, "trigger theirs before delete on waiting_row for each row", "return null;")
    gbp = star_row("dim_currency", sequence=3, currency_id=2, currency_code="CHF")
    if rebuild:
        currencies.replace("dim_currency", gbp)
    else:
        currencies.add("dim_currency", gbp, gbp | {"currency_id": 1})

    with pytest.raises(StarSchemaMismatch, match="trigger theirs of waiting_row keeps rows"):
        load_through(3, rebuild=rebuild)

    assert held(warehouse, CODES) == [(1, "EUR"), (2, "GBP")]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return null;", ""),
        ("new.paid = true; return new;", "trigger theirs of fact_payment changes"),
    ],
)
def test_triggers_of_a_partition_count_as_those_of_its_table(
    warehouse: psycopg.Connection,
    star_lake: StarLake,
    load_through: LoadThrough,
    body: LiteralString,
    words: str,
) -> None:
    warehouse.execute(
        "drop view current_payment; alter table fact_payment rename to whole; "
        "create table fact_payment (like whole including constraints including indexes) "
        "partition by range (payment_record_id); "
        "create table first partition of fact_payment for values from (0) to (2); "
        "create table others partition of fact_payment default; " + REFERENCE_DIMENSIONS
    )
    attach(warehouse, "trigger theirs before insert on others for each row", body)
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {}, {"payment_record_id": 2})

    if words:
        with pytest.raises(StarSchemaMismatch, match=words):
            load_through(1)
    else:
        assert LoadedTable("fact_payment", 1, 0, waiting=1) in load_through(1).tables

    expected = [] if words else [(1,)]
    assert held(warehouse, "select payment_record_id from fact_payment") == expected


@AT_ONCE_AND_IN_STEPS
@pytest.mark.parametrize(
    "values",
    [
        "load_position values ('dim_currency', 7)",
        "pipeline_run values (7, 'run-7', now(), '{}')",
        "captured_run values (7, 'run-7', now())",
        "superseded_version values ('fact_payment', 1, 2)",
    ],
)
def test_rows_of_others_among_what_a_load_notes_of_itself_are_refused(
    warehouse: psycopg.Connection, currencies: StarLake, load_through: LoadThrough, values: str
) -> None:
    load_through(1)
    table = values.split(maxsplit=1)[0]
    warehouse.execute(f"create table theirs () inherits ({table})".encode())
    load_through(1)
    warehouse.execute(f"insert into {values.replace(table, 'theirs')}".encode())
    currencies.add_star_rows("dim_currency", {"currency_id": 3}, sequence=2)

    with pytest.raises(StarSchemaMismatch, match=f'`alter table .* no inherit "{table}"`'):
        load_through(2)

    assert held(warehouse, "select count(*) from dim_currency") == [(2,)]
    warehouse.execute("drop table theirs")
    load_through(2)
    assert held(warehouse, "select count(*) from dim_currency") == [(3,)]


@pytest.mark.parametrize(
    ("table", "key"),
    [("load_position", "table_name"), ("waiting_row", "table_name, key")],
)
def test_what_a_load_notes_of_itself_has_its_keys(
    warehouse: psycopg.Connection,
    currencies: StarLake,
    load_through: LoadThrough,
    table: str,
    key: str,
) -> None:
    warehouse.execute(f"alter table {table} drop constraint {table}_pkey".encode())
    warehouse.execute(f"create unique index theirs on {table} ({key}) where true is null".encode())

    wanted = f"alter table {table} add primary key ({key})"
    with pytest.raises(StarSchemaMismatch, match=f"run `{re.escape(wanted)}`; nothing was loaded"):
        load_through(1)

    assert held(warehouse, CODES) == []
    warehouse.execute(wanted.encode())
    load_through(1)


def test_a_policy_that_hides_rows_of_a_table_from_the_load_is_an_error(
    warehouse: psycopg.Connection, currencies: StarLake, load_through: LoadThrough
) -> None:
    load_through(1)
    warehouse.execute(
        "create role owner_of_warehouse; "
        "grant create on schema public to owner_of_warehouse; "
        "do $$ declare one text; begin for one in select relname from pg_class "
        "where relnamespace = 'public'::regnamespace and relkind in ('r', 'v') loop "
        "execute format('alter table %I owner to owner_of_warehouse', one); end loop; end $$; "
        "alter table dim_currency enable row level security, force row level security; "
        "create policy theirs on dim_currency using (currency_id < 2) with check (true); "
        "alter table fact_payment enable row level security, force row level security"
    )
    currencies.add_star_rows("dim_currency", {"currency_id": 2, "currency_code": "X"}, sequence=2)
    currencies.add_star_rows("dim_design", {"design_id": 2}, sequence=2)
    warehouse.execute("set session authorization owner_of_warehouse; set row_security = off")
    hidden = ("dim_currency", "fact_payment")

    try:
        with pytest.raises(
            StarSchemaMismatch, match='row-level security policy for table "'
        ) as told:
            load_through(2)
        assert all(f'for table "{name}"' in str(told.value) for name in hidden)
    finally:
        warehouse.execute(
            "reset session authorization; reassign owned by owner_of_warehouse to current_user; "
            "drop owned by owner_of_warehouse; drop role owner_of_warehouse"
        )

    assert held(warehouse, CODES) == [(1, "EUR"), (2, "GBP")]
    assert held(warehouse, "select count(*) from dim_design") == [(2,)]


@AT_ONCE_AND_IN_STEPS
def test_a_published_fact_is_loaded_also_where_rows_have_to_wait(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    warehouse.execute("create publication theirs for all tables")
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("fact_payment", {}, {"payment_record_id": 2, "currency_id": 9})

    assert load_through(1).facts_waiting == 1

    assert held(warehouse, "select payment_record_id from fact_payment") == [(1,)]


def test_a_table_whose_publication_refuses_updates_is_named_and_the_others_are_loaded(
    warehouse: psycopg.Connection, currencies: StarLake, load_through: LoadThrough
) -> None:
    load_through(1)
    warehouse.execute(
        "alter table dim_currency replica identity nothing; "
        "create publication theirs for table dim_currency"
    )
    currencies.add_star_rows("dim_currency", {"currency_id": 1, "currency_code": "X"}, sequence=2)
    currencies.add_star_rows("dim_design", {"design_id": 2}, sequence=2)

    with pytest.raises(StarSchemaMismatch, match='update table "dim_currency"'):
        load_through(2)

    assert held(warehouse, "select count(*) from dim_design") == [(2,)]
