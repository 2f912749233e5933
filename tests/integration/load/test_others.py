"""Tables, columns and rules of other people in the warehouse's database."""

from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from lambdas.load.load import load
from lambdas.load.verify import verify
from pipeline.database import Role, translated_errors
from pipeline.errors import InvalidSettings, StarSchemaMismatch, VerificationFailed
from pipeline.requests import LoadRequest
from tests.fixtures.lake import DAY, PAYMENT_DIMENSIONS, StarLake, star_row
from tests.integration.load.conftest import (
    AT_ONCE_AND_IN_STEPS,
    REFERENCE_DIMENSIONS,
    LoadThrough,
    unchanged,
)
from tests.integration.load.source import MadeUpSource


def all_rows(connection: psycopg.Connection, query: LiteralString) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


@pytest.fixture
def payments(star_lake: StarLake) -> StarLake:
    """A lake with a payment, and two currencies."""
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows("dim_currency", {"currency_id": 2})
    star_lake.add_star_rows("fact_payment", {})
    return star_lake


THEIRS: dict[str, LiteralString] = {
    "a reference to a dimension": "create table staff_bonus "
    "(staff_id integer references dim_staff, currency_id integer references dim_currency)",
    "a reference to a fact": "create table payment_note "
    "(payment_record_id bigint references fact_payment on delete cascade)",
    "a copy of a fact": "create table fact_payment_2025 as select * from fact_payment",
    "a table with a dimension's prefix": "create table dim_target (target integer)",
    "a reference of theirs to theirs": "create table dim_region (region integer primary key); "
    "create table fact_visit (region integer references dim_region)",
    "a partitioned copy": "create table fact_payment_parts (like fact_payment) "
    "partition by range (payment_record_id)",
    "a table that inherits": "create table dim_currency_old () inherits (dim_currency)",
    "a view": "create view totals as select payment_record_id, sum(payment_amount) "
    "from fact_payment group by payment_record_id",
    "a materialized view": "create materialized view m as select * from dim_currency",
    "a column": "alter table fact_payment add column note varchar, add column x integer default 7",
    "a generated column": "alter table dim_currency add column "
    "upper_code varchar generated always as (upper(currency_code)) stored",
    "an index": "create index theirs on fact_payment (paid); comment on index theirs is 'mine'",
    "a unique index": "create unique index theirs on dim_currency (currency_id, currency_code)",
    "a check": "alter table fact_payment add constraint positive check (payment_amount > 0)",
    "a reference from a fact to theirs": "create table payment_kind (paid boolean primary key); "
    "insert into payment_kind values (false); "
    "alter table fact_payment add foreign key (paid) references payment_kind",
    "a reference of a dimension to itself": "alter table dim_staff add foreign key (staff_id) "
    "references dim_staff",
    "a statistics object": "create statistics theirs on currency_id, paid from fact_payment",
    "a trigger": "create function noted() returns trigger language plpgsql as "
    "$$ begin return new; end $$; "
    "create trigger noted before insert on fact_payment for each row execute function noted()",
    "a comment": "comment on constraint fact_payment_pkey on fact_payment is 'theirs'",
}
_OBJECTS: LiteralString = """
select 'class', relname::text, pg_get_indexdef(oid), obj_description(oid, 'pg_class')
from pg_class
where relnamespace = 'public'::regnamespace
union all
select 'constraint', conname::text, pg_get_constraintdef(oid), obj_description(oid, 'pg_constraint')
from pg_constraint
where connamespace = 'public'::regnamespace
union all
select 'trigger', tgname::text, pg_get_triggerdef(oid), null
from pg_trigger
where not tgisinternal
order by 1, 2, 3
"""


@AT_ONCE_AND_IN_STEPS
@pytest.mark.parametrize("theirs", THEIRS)
def test_what_others_made_neither_stops_a_load_nor_changes_by_it(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough, theirs: str
) -> None:
    warehouse.execute(THEIRS[theirs])
    before = all_rows(warehouse, _OBJECTS)

    assert load_through(1).rows == 7
    payments.add_star_rows("fact_payment", {"payment_record_id": 2}, sequence=2)
    payments.add_star_rows("dim_currency", {"currency_id": 3}, sequence=2)
    assert load_through(2).rows == 2
    assert load_through(2, rebuild=True).rows == 0

    assert all_rows(warehouse, _OBJECTS) == before
    query: LiteralString = "select payment_record_id from fact_payment order by 1"
    assert all_rows(warehouse, query) == [(1,), (2,)]


def test_a_rebuild_leaves_the_rows_of_others_alone(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    load_through(1)
    warehouse.execute("create table dim_target as select 1 as target")
    warehouse.execute("create table fact_payment_2025 as select * from fact_payment")
    warehouse.execute("create table dim_currency_old () inherits (dim_currency)")
    warehouse.execute("insert into dim_currency_old values (9, 'OLD', 'Old', false, 'theirs')")

    load_through(1, rebuild=True)

    assert all_rows(warehouse, "select * from dim_target") == [(1,)]
    assert all_rows(warehouse, "select count(*) from fact_payment_2025") == [(1,)]
    assert all_rows(warehouse, "select currency_id from dim_currency_old") == [(9,)]


@pytest.mark.parametrize(
    "action", ["", "on delete cascade", "on delete set null", "on delete set default"]
)
@AT_ONCE_AND_IN_STEPS
def test_a_dimension_row_that_others_refer_to_is_marked_instead_of_deleted(
    warehouse: psycopg.Connection,
    payments: StarLake,
    load_through: LoadThrough,
    made_source: MadeUpSource,
    action: LiteralString,
) -> None:
    payments.add_star_rows("dim_currency", {"currency_id": 3})
    load_through(1)
    warehouse.execute(
        sql.SQL("create table price (currency_id integer references dim_currency {})").format(
            sql.SQL(action)
        )
    )
    warehouse.execute("insert into price values (2)")
    payments.replace("dim_currency", star_row("dim_currency"))

    load_through(1, rebuild=True)

    held: LiteralString = "select currency_id, is_deleted from dim_currency order by 1"
    assert all_rows(warehouse, held) == [(1, False), (2, True)]
    assert all_rows(warehouse, "select * from price") == [(2,)]
    verified = verify(
        warehouse,
        payments.lake,
        made_source.fingerprints(),
        sequence=1,
        seconds_left=lambda: 60.0,
    )
    assert {one.table: one.versions for one in verified}["dim_currency"] == 1
    # Nobody refers to it any more: it differs from the lake, and the next rebuild deletes it.
    warehouse.execute("delete from price")
    with pytest.raises(VerificationFailed, match="currency_id 2 is extra"):
        verify(
            warehouse,
            payments.lake,
            made_source.fingerprints(),
            sequence=1,
            seconds_left=lambda: 60.0,
        )
    load_through(1, rebuild=True)
    assert all_rows(warehouse, held) == [(1, False)]


@pytest.fixture
def made_source(raw_bucket: str, s3: Any) -> MadeUpSource:
    """A source that makes a payment and its dimension rows."""
    source = MadeUpSource(raw_bucket, s3)
    source.makes_one_row(*PAYMENT_DIMENSIONS, "fact_payment")
    return source


SHADOWING: tuple[LiteralString, ...] = (
    "function concat(variadic text[]) returns text language sql as $$ select 'same' $$",
    "function to_char(time, text) returns text language sql as $$ select 'noon' $$",
    "function length(varchar) returns integer language sql as $$ select 0 $$",
    "function unnest(text[]) returns setof text language sql as $$ select 'none' $$",
    "function unnest(smallint[]) returns setof smallint language sql as $$ select 1::smallint $$",
    "function cardinality(smallint[]) returns integer language sql as $$ select 0 $$",
    "function jsonb_build_object(text, text) returns jsonb language sql "
    "as $$ select '{}'::jsonb $$",
    "function generate_series(bigint, integer, integer) returns setof bigint language sql "
    "as $$ select 1::bigint $$",
    "function string_agg(text, text) returns text language sql as $$ select 'nowhere' $$",
    "aggregate lag(bigint) (sfunc = int8larger, stype = bigint)",
)
"""Functions of others whose arguments fit a call better than those of the server's function."""


def test_functions_of_others_are_not_called_instead_of_the_servers(
    warehouse: psycopg.Connection,
    payments: StarLake,
    load_through: LoadThrough,
    made_source: MadeUpSource,
) -> None:
    for function in SHADOWING:
        warehouse.execute(sql.SQL("create {}").format(sql.SQL(function)))
    payments.add_star_rows(
        "fact_payment", {"payment_record_id": 2, "payment_id": 2, "transaction_id": 8}
    )
    made_source.makes("dim_currency", {"currency_id": 2})
    made_source.makes("dim_transaction", {"transaction_id": 8})
    made_source.makes("fact_payment", {"payment_id": 2, "transaction_id": 8})

    assert load_through(1).facts_waiting == 1
    reasons = all_rows(warehouse, "select reasons::text from waiting_row")
    assert ["transaction_id" in reason for (reason,) in reasons] == [True]
    payments.add_star_rows("dim_transaction", {"transaction_id": 8}, sequence=2)
    assert load_through(2).facts_waiting == 0
    assert all_rows(warehouse, "select * from superseded_version") == []

    def prove() -> None:
        source = made_source.fingerprints()
        verify(warehouse, payments.lake, source, sequence=2, seconds_left=lambda: 60.0)

    prove()
    warehouse.execute("update fact_payment set created_time = created_time + interval '1 second'")
    with pytest.raises(VerificationFailed, match="fact_payment"):
        prove()


def test_many_rows_that_have_gone_are_deleted_at_once_and_the_foreign_keys_are_back(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    payments.add_star_rows("dim_transaction", *({"transaction_id": n} for n in range(2, 3000)))
    payments.add_star_rows("fact_payment", {"payment_record_id": 2, "transaction_id": 5})
    load_through(1)
    warehouse.execute("create table kept (transaction_id integer references dim_transaction)")
    warehouse.execute("insert into kept values (7)")
    warehouse.execute(
        "comment on constraint fact_payment_transaction_id_fkey on fact_payment is 'theirs'"
    )
    before = all_rows(warehouse, _OBJECTS)
    payments.replace("dim_transaction", star_row("dim_transaction"))

    assert load_through(1, rebuild=True).facts_waiting == 1

    assert all_rows(warehouse, _OBJECTS) == before
    held: LiteralString = "select transaction_id, is_deleted from dim_transaction order by 1"
    assert all_rows(warehouse, held) == [(1, False), (7, True)]


def test_a_fact_that_others_refer_to_is_not_deleted_and_its_table_is_named(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    payments.add_star_rows("fact_payment", {"payment_record_id": 2})
    load_through(1)
    warehouse.execute(
        "create table note (payment bigint references fact_payment on delete cascade)"
    )
    warehouse.execute("insert into note values (2)")
    payments.replace("fact_payment", star_row("fact_payment"))

    with pytest.raises(StarSchemaMismatch, match="no payment_record_id 2 of fact_payment"):
        load_through(1, rebuild=True)

    assert all_rows(warehouse, "select * from note") == [(2,)]


def test_a_partitioned_fact_is_loaded_and_rebuilt(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    warehouse.execute(
        "alter table fact_payment rename to whole; "
        "alter index fact_payment_history rename to whole_history; "
        "create table fact_payment (like whole including all) "
        "partition by range (payment_record_id); "
        "drop view current_payment; drop table whole; "
        "create table fact_payment_1 partition of fact_payment default; " + REFERENCE_DIMENSIONS
    )
    assert load_through(1).rows == 7
    payments.add_star_rows("fact_payment", {"payment_record_id": 2}, sequence=2)
    assert load_through(2).rows == 1
    assert load_through(2, rebuild=True).rows == 0

    assert all_rows(warehouse, "select count(*) from fact_payment_1") == [(2,)]


@pytest.mark.parametrize(
    "change",
    [
        "alter schema public rename to warehouse; create schema public",
        'alter schema public rename to "The Warehouse"',
        "create schema other; set search_path = other, public",
        'create schema postgres; set search_path = "$user", public',
        "set search_path = pg_catalog",
    ],
)
def test_the_warehouse_is_found_whatever_its_schema_and_the_search_path_are(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough, change: str
) -> None:
    load_through(1)
    payments.add_star_rows("dim_currency", {"currency_id": 3}, sequence=2)
    warehouse.execute(change.encode())

    assert load_through(2).rows == 1

    tables = all_rows(warehouse, "select count(*) from pg_class where relname = 'dim_currency'")
    assert tables == [(1,)]


def test_two_warehouses_of_which_neither_is_in_the_search_path_are_refused(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    load_through(1)
    warehouse.execute(
        "create schema a; create table a.schema_migration (); create table a.pipeline_run (); "
        "create schema b; set search_path = b"
    )

    with pytest.raises(InvalidSettings, match="a, public each have a warehouse"):
        load_through(2)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_an_encoding_other_than_utf8_is_refused_before_anything_is_written(
    warehouse: psycopg.Connection,
    payments: StarLake,
    encoding: str,
) -> None:
    name = sql.Identifier(f"odd_{encoding.lower()}")
    warehouse.execute(
        sql.SQL("create database {} encoding {} locale 'C' template template0").format(
            name, encoding
        )
    )
    dsn = psycopg.conninfo.make_conninfo(
        warehouse.info.dsn, password=warehouse.info.password, dbname=f"odd_{encoding.lower()}"
    )
    with psycopg.connect(dsn, autocommit=True) as connection:
        with (
            pytest.raises(InvalidSettings, match=f"has the encoding {encoding}"),
            translated_errors(Role.WAREHOUSE),
        ):
            load(
                connection,
                payments.lake,
                LoadRequest("run-1", 1),
                unchanged,
                seconds_left=lambda: 60.0,
            )
        assert all_rows(connection, "select from pg_tables where schemaname = 'public'") == []
    warehouse.execute(sql.SQL("drop database {}").format(name))


def test_a_day_that_others_refer_to_stays(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    payments.add_star_rows("dim_date", {"date_id": DAY.replace(day=2)})
    load_through(1)
    warehouse.execute("create table holiday (day date references dim_date on delete cascade)")
    warehouse.execute("insert into holiday select min(date_id) from dim_date")
    payments.replace("dim_date", star_row("dim_date"))

    load_through(1, rebuild=True)

    assert all_rows(warehouse, "select day from holiday") == [(DAY.replace(day=2),)]


def test_a_function_of_others_finds_what_it_names_by_the_search_path_of_the_role(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    warehouse.execute(
        "create schema audit; create table audit.log (currency_id integer); "
        "create function noted() returns trigger language plpgsql as "
        "$$ begin insert into log values (new.currency_id); return new; end $$; "
        "create trigger noted before insert on dim_currency for each row execute function noted(); "
        "create function public.now() returns timestamptz language sql "
        "as $$ select null::timestamptz $$; "
        "set search_path = public, audit, pg_catalog"
    )

    assert load_through(1).rows == 7

    assert all_rows(warehouse, "select currency_id from log order by 1") == [(1,), (2,)]
    assert all_rows(warehouse, "select now() is null") == [(False,)]


@AT_ONCE_AND_IN_STEPS
def test_tables_of_another_owner_are_loaded_and_rebuilt(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    payments.add_star_rows("dim_transaction", *({"transaction_id": n} for n in range(2, 1200)))
    warehouse.execute(
        "create role owner; create role loader; grant owner to current_user; "
        "grant create, usage on schema public to owner; grant usage on schema public to loader; "
        f"grant create on database {warehouse.info.dbname} to loader; "
        "do $$ declare one text; begin for one in select relname from pg_class "
        "where relnamespace = 'public'::regnamespace and relkind = 'r' loop "
        "execute format('alter table %I owner to owner', one); "
        "execute format('grant select, insert, update, delete, references on %I to loader', one); "
        "end loop; end $$".encode()
    )
    warehouse.execute("set session authorization loader")
    try:
        assert load_through(1).rows == 1205
        payments.replace("dim_transaction", star_row("dim_transaction"))
        load_through(1, rebuild=True)
    finally:
        warehouse.execute(
            "reset session authorization; reassign owned by owner, loader to current_user; "
            "drop owned by owner, loader; drop role owner, loader"
        )

    assert all_rows(warehouse, "select transaction_id from dim_transaction") == [(1,)]


def test_a_table_that_a_crash_would_empty_is_named_and_the_others_are_loaded(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    load_through(1)
    warehouse.execute("alter table fact_payment set unlogged")
    payments.add_star_rows("dim_currency", {"currency_id": 3}, sequence=2)

    with pytest.raises(StarSchemaMismatch, match="fact_payment is unlogged"):
        load_through(2)

    assert all_rows(warehouse, "select count(*) from dim_currency") == [(3,)]
    warehouse.execute("alter table fact_payment set logged")
    load_through(2)


def test_a_key_whose_collation_equates_texts_is_named_and_the_others_are_loaded(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    load_through(1)
    warehouse.execute("create collation lenient (locale = 'C')")
    warehouse.execute("alter table dim_currency alter currency_name type varchar collate lenient")
    warehouse.execute(
        "alter table fact_sales_order drop constraint fact_sales_order_design_id_fkey"
    )
    warehouse.execute("alter table dim_design alter design_id type varchar collate lenient")
    # A server without ICU can make no such collation.
    warehouse.execute(
        "update pg_collation set collisdeterministic = false where collname = 'lenient'"
    )
    payments.add_star_rows("dim_design", {"design_id": 2}, sequence=2)
    payments.add_star_rows("dim_currency", {"currency_id": 3}, sequence=2)

    with pytest.raises(StarSchemaMismatch, match=r"the collation of dim_design\.design_id takes"):
        load_through(2)

    assert all_rows(warehouse, "select count(*) from dim_currency") == [(3,)]


@pytest.mark.parametrize(
    "change",
    [
        "alter table fact_payment drop constraint fact_payment_pkey",
        "alter table fact_payment drop constraint fact_payment_pkey; "
        "alter table fact_payment add primary key (payment_record_id) deferrable",
    ],
)
def test_a_table_without_a_key_to_upsert_by_is_named_and_the_others_are_loaded(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough, change: str
) -> None:
    load_through(1)
    warehouse.execute(change.encode())
    payments.add_star_rows("fact_payment", {"payment_record_id": 2}, sequence=2)
    payments.add_star_rows("dim_currency", {"currency_id": 3}, sequence=2)

    with pytest.raises(StarSchemaMismatch, match="refused fact_payment"):
        load_through(2)

    assert all_rows(warehouse, "select count(*) from dim_currency") == [(3,)]


def test_an_empty_table_without_a_primary_key_is_named_and_the_others_are_loaded(
    warehouse: psycopg.Connection, payments: StarLake, load_through: LoadThrough
) -> None:
    warehouse.execute("alter table fact_payment drop constraint fact_payment_pkey")

    with pytest.raises(StarSchemaMismatch, match="refused fact_payment"):
        load_through(1)

    assert all_rows(warehouse, "select count(*) from dim_currency") == [(2,)]
