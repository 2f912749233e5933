"""What stands in TOML beside the SQL belongs to a table, and says all that is needed."""

import re
from importlib import resources

import pytest
import sqlglot

from glue_jobs.star_schema.build import EVERY_TABLE, QUARANTINE, record_id_of
from glue_jobs.star_schema.declarations import declared
from glue_jobs.star_schema.rules import rules_of
from pipeline.star_sql import StarTable, star_tables
from tests.oracle.star import RECORD_IDS


def test_every_declaration_is_of_a_table_that_there_is() -> None:
    stars = star_tables()
    tables = {star.name for star in stars} | {source for star in stars for source in star.sources}
    folder = resources.files("glue_jobs.star_schema.sql")

    files = {file.name for file in folder.iterdir() if file.name.endswith(".toml")}

    assert files <= {f"{table}.toml" for table in tables | {QUARANTINE, EVERY_TABLE}}


@pytest.mark.parametrize("star", star_tables(), ids=lambda star: star.name)
def test_a_star_table_says_what_it_and_each_of_its_columns_hold(star: StarTable) -> None:
    select = sqlglot.parse_one(star.select, read="spark")
    assert isinstance(select, sqlglot.exp.Query)
    own = [record_id_of(star)] if star.is_fact else []

    assert declared(star.name, "table")["comment"]
    assert [*declared(star.name, "columns")] == [
        *own,
        *(name for name in select.named_selects if name != "_sequence"),
    ]
    assert all(declared(star.name, "columns").values())


def test_a_select_that_reads_its_own_table_declares_the_columns() -> None:
    reading = {
        star.name for star in star_tables() if re.search(rf"from {star.name}\b", star.select)
    }

    assert reading == {"dim_date"}
    assert {star.name for star in star_tables() if declared(star.name, "own_columns")} == reading


def test_the_source_of_every_fact_has_rules_for_what_its_select_casts() -> None:
    for star in star_tables():
        if star.is_fact:
            casts = set(re.findall(r"cast\((\w+) as (?:date|decimal.*?)\)", star.select))
            ruled = {demand.split(" ")[0] for demand in rules_of(star.sources[0])}
            assert ruled == casts - {"created_at", "last_updated"}


def test_a_table_without_a_file_declares_nothing() -> None:
    assert declared("department", "rules") == {}


def test_a_facts_own_key_is_named_after_it() -> None:
    facts = {star.name: record_id_of(star) for star in star_tables() if star.is_fact}

    assert facts == RECORD_IDS
