"""What stands in TOML beside the SQL belongs to a table, and says all that is needed."""

import re
from importlib import resources

import pytest
import sqlglot

from glue_jobs.star_schema.build import EVERY_TABLE, QUARANTINE, record_id_of
from glue_jobs.star_schema.rules import rules_of
from pipeline.declarations import declared
from pipeline.star_sql import StarTable, star_tables
from tests.fixtures.lake import STAR
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


FACTS = [star for star in star_tables() if star.is_fact]
SOURCES_OF_FACTS = {source for star in FACTS for source in star.sources}


@pytest.mark.parametrize("fact", FACTS, ids=lambda star: star.name)
def test_a_fact_has_rules_for_every_date_and_decimal_that_its_select_casts(fact: StarTable) -> None:
    casts = set(re.findall(r"cast\((\w+) as (?:date|decimal.*?)\)", fact.select))
    (source,) = fact.sources
    ruled = {
        demand.split(" ")[0]
        for demand in rules_of(source).every
        if not demand.endswith(" is given")
    }

    assert ruled == casts - {"created_at", "last_updated"}


@pytest.mark.parametrize("fact", FACTS, ids=lambda star: star.name)
def test_a_fact_has_a_rule_for_every_column_that_the_warehouse_requires(fact: StarTable) -> None:
    select = sqlglot.parse_one(fact.select, read="spark")
    assert isinstance(select, sqlglot.exp.Query)
    key, *columns = [
        {column.name for column in projection.find_all(sqlglot.exp.Column)}
        for projection in select.selects
        if projection.alias_or_name != "_sequence"
    ]
    (source,) = fact.sources
    ruled = {demand.split(" ")[0] for demand in rules_of(source).every}

    assert all(column.is_required for column in STAR[fact.name])
    assert ruled == set.union(*columns) - key


@pytest.mark.parametrize(
    "star", [star for star in star_tables() if star.is_joined], ids=lambda star: star.name
)
def test_a_select_that_joins_stops_where_a_join_doubles_a_key(star: StarTable) -> None:
    select = sqlglot.parse_one(star.select, read="spark")
    assert isinstance(select, sqlglot.exp.Query)

    assert f"{select.named_selects[0]} is unique" in rules_of(star.name).stopping


def test_rules_stand_where_a_build_checks_them() -> None:
    stars = {star.name for star in star_tables()}
    folder = resources.files("glue_jobs.star_schema.sql")
    tables = [
        file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml")
    ]

    assert {table for table in tables if rules_of(table).quarantining} <= SOURCES_OF_FACTS
    assert {table for table in tables if rules_of(table).stopping} <= SOURCES_OF_FACTS | stars


def test_what_a_rule_demands_can_be_told_apart_in_a_list_of_reasons() -> None:
    for source in SOURCES_OF_FACTS:
        rules = rules_of(source)
        assert not [demand for demand in rules.every if "; " in demand]
        assert not set(rules.quarantining) & set(rules.stopping)


def test_a_table_without_a_file_declares_nothing() -> None:
    assert declared("department", "rules") == {}


def test_a_facts_own_key_is_named_after_it() -> None:
    facts = {star.name: record_id_of(star) for star in star_tables() if star.is_fact}

    assert facts == RECORD_IDS
