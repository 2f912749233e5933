"""A star table that is added by three files alone flows from the source to the warehouse."""

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from glue_jobs.build import lake
from lambdas.load.migrations import Migration, migrations
from star_schema import files
from star_schema.tables import star_table
from tests.integration.build.world import STARS, Business, Star, Warehouse
from tests.template import ROOT

DOCUMENTED = dict(
    re.findall(
        r"^`(\S[^`]*\.(?:sql|toml))`\n```\w+\n(.*?)^```",
        (ROOT / "docs" / "adding-a-star-table.md").read_text(),
        re.DOTALL | re.MULTILINE,
    )
)
"""The files of the documented example, by their paths."""
FACT = {
    # Neither the natural key nor the record id is where other tables have it.
    "star_schema/definitions/tables/fact_transaction.sql": """
select transaction_type, transaction_id, sales_order_id, _sequence from transaction
""",
    "star_schema/definitions/tables/fact_transaction.toml": """
kind = "fact"
comment = "Every version of every transaction"
natural_key = "transaction_id"
record_id = "version_number"
sources = ["transaction"]
[columns]
version_number = { type = "bigint", comment = "Key: the version" }
transaction_type = { type = "string", comment = "SALE or PURCHASE" }
transaction_id = { type = "int", comment = "The transaction in the source" }
sales_order_id = { type = "int", comment = "The sales order, of a sale" }
""",
    "lambdas/load/migrations/0099_transaction.sql": """
create table fact_transaction (
    version_number bigint primary key,
    transaction_type varchar not null,
    transaction_id integer not null,
    sales_order_id integer,
    is_deleted boolean not null,
    run_id varchar not null
);
""",
}


CODE = {
    "star_schema/definitions/tables/dim_code.sql": "select code, label, _sequence from code",
    "star_schema/definitions/tables/dim_code.toml": """
kind = "dimension"
comment = "Codes"
natural_key = "code"
sources = ["code"]
[columns]
code = { type = "string", comment = "Key: the code" }
label = { type = "string", comment = "What it stands for" }
""",
    "lambdas/load/migrations/0099_code.sql": """
create table dim_code (
    code varchar primary key,
    label varchar not null,
    is_deleted boolean not null,
    run_id varchar not null
);
""",
}
CODES = (
    "",
    "a",
    "A",
    "a ",
    "\ufeffa",
    "a\u200b",
    "\u00e9",
    "e\u0301",
    "\U0001f986",
    "o'\\x",
    "x" * 8000,
)
"""Keys that somebody or something may take for each other."""


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, str]], None]:
    """Adds a star table by its files."""
    folder = tmp_path / "definitions"
    shutil.copytree(ROOT / "star_schema" / "definitions", folder)

    def put(table: str, given: dict[str, str]) -> None:
        select, declaration, migration = given.values()
        (folder / files.TABLES / f"{table}.sql").write_text(select)
        (folder / files.TABLES / f"{table}.toml").write_text(declaration)
        step = Migration("0099.sql", migration, "1")
        monkeypatch.setattr(files, "root", lambda: folder)
        monkeypatch.setattr("lambdas.load.load.migrations", lambda: (*migrations(), step))
        monkeypatch.setitem(STARS, table, star_table(table))

    return put


def rows(dsn: str, statement: LiteralString) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(statement).fetchall()


def flow(
    table: str,
    business: Business,
    star: Star,
    warehouse: Warehouse,
    changes: Iterable[LiteralString],
) -> None:
    """Changes the source, and takes what it holds through all stages."""
    for change in changes:
        business.execute(change)
    business.run()
    star.build(table)
    warehouse.load()


def test_the_page_has_a_select_a_declaration_and_a_migration() -> None:
    assert [Path(path).suffix for path in DOCUMENTED] == [".sql", ".toml", ".sql"]


def test_the_documented_dimension_shows_the_latest_state(
    business: Business,
    star: Star,
    new_warehouse: Callable[[Star, Business], Warehouse],
    add: Callable[[str, dict[str, str]], None],
) -> None:
    warehouse = new_warehouse(star, business)
    add("dim_department", DOCUMENTED)
    for changes in (
        (),
        (
            "update department set location = 'Leeds' where department_id = 2",
            "insert into department (department_id, department_name) values (99, 'New')",
        ),
        ("delete from department where department_id = 99",),
    ):
        flow("dim_department", business, star, warehouse, changes)

    found = rows(
        warehouse.dsn,
        "select department_id, department_name, location, is_deleted, run_id from dim_department",
    )
    source = rows(business.dsn, "select department_id, department_name, location from department")
    wanted = {(*row, False, "run-2" if row[0] == 2 else "run-1") for row in source}
    assert set(found) == wanted | {(99, "New", None, True, "run-3")}
    assert len(found) == 9


def test_a_fact_keeps_every_version_wherever_its_key_stands(
    business: Business,
    star: Star,
    new_warehouse: Callable[[Star, Business], Warehouse],
    add: Callable[[str, dict[str, str]], None],
) -> None:
    warehouse = new_warehouse(star, business)
    add("fact_transaction", FACT)
    change = "update transaction set transaction_type = 'X' where transaction_id = 2"
    for changes in ((), (change,)):
        flow("fact_transaction", business, star, warehouse, changes)

    count = len(rows(business.dsn, "select from transaction"))
    assert rows(
        warehouse.dsn,
        "select version_number, transaction_type, run_id from fact_transaction "
        "where transaction_id = 2 order by version_number",
    )[1:] == [(count + 1, "X", "run-2")]
    assert rows(warehouse.dsn, "select count(*), max(version_number) from fact_transaction") == [
        (count + 1, count + 1)
    ]


@pytest.fixture
def codes(
    business: Business,
    star: Star,
    new_warehouse: Callable[[Star, Business], Warehouse],
    add: Callable[[str, dict[str, str]], None],
    tmp_path: Path,
) -> Callable[..., list[Any]]:
    """Takes changes of the source's codes through all stages; gives the codes that are there."""
    warehouse = new_warehouse(star, business)
    add("dim_code", CODE)
    declaration = tmp_path / "definitions" / files.SOURCES / "code.toml"
    declaration.write_text('natural_key = "code"')

    def change(*changes: LiteralString) -> list[Any]:
        flow("dim_code", business, star, warehouse, changes)
        shown = 'select code, label from dim_code where not is_deleted order by code collate "C"'
        return rows(warehouse.dsn, shown)

    return change


@pytest.mark.parametrize("small_rows", [lake.SMALL_TABLE_ROWS, 0], ids=["small", "large"])
def test_keys_that_look_or_sort_alike_are_keys_of_their_own(
    business: Business,
    codes: Callable[..., list[Any]],
    small_rows: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lake, "SMALL_TABLE_ROWS", small_rows)
    monkeypatch.setattr(lake, "TINY_TABLE_ROWS", small_rows)
    business.execute("create table code (code text primary key, label text not null)")
    for code in CODES:
        business.execute("insert into code values (%s, 'first')", code)
    business.execute("insert into code select 'k' || n, '' from generate_series(1, 40) as n")
    ordered = 'select code, label from code order by code collate "C"'

    assert codes() == rows(business.dsn, ordered)
    assert len(codes("delete from code where code in ('a', '', e'e\\u0301')")) == len(CODES) + 37
    changed = codes(
        "update code set label = 'second' where code in ('A', e'\\u00e9')",
        "update code set code = 'a' where code = 'a '",
        "update code set label = code where starts_with(code, 'k')",
        "insert into code values (e'e\\u0301', 'again')",
    )
    assert changed == rows(business.dsn, ordered)


def test_a_key_of_character_is_the_same_key_however_long_its_type_is(
    business: Business, codes: Callable[..., list[Any]]
) -> None:
    first = codes(
        "create table code (code character(4) primary key, label text not null)",
        "insert into code values ('a', '1'), ('b', '2'), ('', '3')",
    )
    deleted = codes("delete from code where code = 'b'", "update code set label = '4'")
    longer = codes("alter table code alter column code type character(8)")

    assert first == [("", "3"), ("a", "1"), ("b", "2")]
    assert deleted == longer == [("", "4"), ("a", "4")]
    assert codes("alter table code alter column code type text") == longer
