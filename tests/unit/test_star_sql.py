"""The star tables' SQL files say what they read."""

import sqlglot
from sqlglot import expressions
from sqlglot.optimizer.scope import traverse_scope

from pipeline.star_sql import joined_sources, parse, star_tables


def test_every_warehouse_table_has_its_select() -> None:
    assert len(star_tables()) == 11


def test_the_sources_are_those_that_a_full_sql_parser_finds() -> None:
    for star in star_tables():
        scopes = traverse_scope(sqlglot.parse_one(star.select, dialect="spark"))
        read = {
            source.name
            for scope in scopes
            for source in scope.sources.values()
            if isinstance(source, expressions.Table)
        }
        assert set(star.sources) == read - {"iso_4217", star.name}, star.name


def test_a_joined_table_is_one_whose_change_shows_in_another_tables_rows() -> None:
    assert joined_sources(star_tables()) == {"staff", "department", "counterparty", "address"}


def test_a_comment_or_a_common_table_expression_is_no_source() -> None:
    star = parse("dim_x", "-- from nowhere\nwith a as (select 1 from b) select 1 from a join c")

    assert star.sources == ("b", "c")


def test_a_key_that_the_select_takes_as_it_is_has_its_source_column() -> None:
    assert parse("dim_x", "select a_id, upper(b) as b, _sequence from a\n").key_source == "a_id"
    assert parse("dim_x", "select a_id as x_id, b from a").key_source == "a_id"


def test_a_key_that_is_made_or_has_several_rows_has_no_source_column() -> None:
    for select in (
        "select upper(a_id) as a_id, b from a",
        "select distinct a_id, b from a",
        "select a_id, b from a where b > 1",
        "select a_id, count(*) as b from a group by a_id",
        "select a_id, lag(b) over (order by b) as b from a",
        "select a_id, (select max(c) from c) as b from a",
        "select a.a_id, b from a join b on a.b_id = b.b_id",
        "with a as (select 1 as a_id, 2 as b from b) select a_id, b from a",
    ):
        assert parse("dim_x", select).key_source is None, select
