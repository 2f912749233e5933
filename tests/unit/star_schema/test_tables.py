"""Declarations and SELECTs say the same of the star tables."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp
from sqlglot.optimizer.scope import Scope, traverse_scope

from pipeline.errors import DeclarationInvalid
from star_schema import files
from star_schema.sources import declared_source
from star_schema.tables import (
    PREFIXES,
    Kind,
    StarTable,
    joined_sources,
    star_table,
    star_tables,
)
from tests.fixtures.lake import STAR
from tests.oracle.star import DIMENSION_KEYS, RECORD_IDS

STARS = star_tables()
of_each = pytest.mark.parametrize("star", STARS, ids=lambda star: star.name)


def query_of(star: StarTable) -> exp.Query:
    query = sqlglot.parse_one(star.select, read="spark")
    assert isinstance(query, exp.Query)
    return query


def relations(scope: Scope) -> list[str]:
    """Returns the tables that one SELECT reads itself, without its common table expressions."""
    return [one.name for one in scope.sources.values() if isinstance(one, exp.Table)]


def source_relations(star: StarTable) -> Iterator[list[str]]:
    """Yields the source tables that each SELECT of a star table's query reads."""
    for scope in traverse_scope(query_of(star)):
        yield [name for name in relations(scope) if name not in ("iso_4217", star.name)]


def test_the_star_tables_are_those_of_the_warehouse() -> None:
    assert {star.name for star in STARS} == STAR.keys()


@of_each
def test_a_table_has_its_kinds_prefix_by_which_rights_are_granted(star: StarTable) -> None:
    assert star.name.startswith(PREFIXES[star.kind])


@of_each
def test_the_declared_sources_are_those_that_the_select_reads(star: StarTable) -> None:
    assert set(star.sources) == {name for names in source_relations(star) for name in names}


@of_each
def test_the_joined_sources_are_all_sources_of_a_select_that_joins_some(star: StarTable) -> None:
    joins = any(len(names) > 1 for names in source_relations(star))

    assert star.joined_sources == (star.sources if joins else ())


@of_each
def test_the_row_source_is_the_source_that_the_natural_key_is_taken_from(star: StarTable) -> None:
    query = query_of(star)
    (key,) = (one.unalias() for one in query.selects if one.alias_or_name == star.natural_key)
    read = relations(traverse_scope(query)[-1])

    assert isinstance(key, exp.Column)
    assert star.row_source == (key.table or (read[0] if len(read) == 1 else None))
    if star.row_source:
        assert declared_source(star.row_source).natural_key == key.name


@of_each
def test_the_declared_columns_are_those_that_the_select_gives_in_order(star: StarTable) -> None:
    named = query_of(star).named_selects

    assert [name for name in named if name != "_sequence"] == list(star.selected)
    assert "_sequence" in named
    assert star.natural_key in star.selected


@of_each
def test_a_fact_and_no_dimension_has_a_record_id_as_its_first_column(star: StarTable) -> None:
    assert star.record_id == RECORD_IDS.get(star.name)
    assert not star.is_fact or star.columns[0].name == star.record_id
    assert star.natural_key == DIMENSION_KEYS.get(star.name, f"{star.sources[0]}_id")


@of_each
def test_the_table_and_each_of_its_columns_have_a_comment(star: StarTable) -> None:
    assert star.comment
    assert all(column.comment for column in star.columns)


@of_each
def test_the_own_columns_are_those_that_the_select_reads_of_its_own_table(
    star: StarTable,
) -> None:
    read = {
        column.name
        for scope in traverse_scope(query_of(star))
        if star.name in relations(scope)
        for column in scope.columns
        if column.name != "_sequence"
    }

    assert {column.name for column in star.own_columns} == read


@of_each
def test_a_select_that_joins_stops_where_a_join_doubles_a_key(star: StarTable) -> None:
    demands = {rule.demand for rule in star.stopping_rules}

    assert not star.joined_sources or f"{star.natural_key} is unique" in demands


def test_a_joined_table_is_one_whose_change_shows_in_another_tables_rows() -> None:
    assert joined_sources(STARS) == {"staff", "department", "counterparty", "address"}


def test_every_file_belongs_to_a_table() -> None:
    tables = {f"{star.name}.{kind}" for star in STARS for kind in ("sql", "toml")}
    sources = {f"{source}.toml" for star in STARS for source in star.sources}

    for folder, wanted in ((files.TABLES, tables), (files.SOURCES, sources)):
        assert {file.name for file in (files.root() / folder).iterdir()} == wanted


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Declares the one star table dim_x."""
    for folder in (files.TABLES, files.SOURCES):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(files, "root", lambda: tmp_path)

    def put(toml: str) -> None:
        (tmp_path / files.TABLES / "dim_x.toml").write_text(toml)
        (tmp_path / files.TABLES / "dim_x.sql").write_text("select x_id, _sequence from x")

    return put


WHOLE = """
kind = "dimension"
comment = "What x is"
natural_key = "x_id"
sources = ["x"]
[columns]
x_id = { type = "int", comment = "Key" }
"""


def test_what_is_not_declared_has_no_value(declare: Callable[[str], None]) -> None:
    declare(WHOLE)

    (star,) = star_tables()

    assert (star.name, star.kind, star.record_id) == ("dim_x", Kind.DIMENSION, None)
    assert star.row_source == "x"
    assert (star.joined_sources, star.own_columns, star.stopping_rules) == ((), (), ())


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('kind = "dimension"', "", "kind"),
        ('kind = "dimension"', 'kind = "dim"', "dim"),
        ('natural_key = "x_id"', 'key = "x_id"', "key"),
        ("sources", "sauces", "sources"),
        ('type = "int", ', "", "type"),
        ('kind = "dimension"', 'kind = "dimension"\nown_columns = ["y"]', "y"),
        ('kind = "dimension"', "kind", "line 2"),
        ("[columns]", '[stopping_rules]\ngivn = ["x_id"]\n[columns]', "givn"),
        ('natural_key = "x_id"', 'natural_key = "y_id"', "natural_key y_id is none"),
        ('natural_key = "x_id"', 'natural_key = ["x_id"]', "natural_key .* is none"),
        ('sources = ["x"]', 'sources = "x"', "sources is no list"),
        ('sources = ["x"]', "sources = []", "sources"),
        ('sources = ["x"]', 'sources = ["x"]\nrow_source = "y"', "row_source y is none"),
        ('sources = ["x"]', 'sources = ["x", "y"]\njoined_sources = ["x"]', "all sources or none"),
        ('sources = ["x"]', 'sources = ["x", "y"]\njoined_sources = ["x", "y"]', "row_source"),
        (
            'sources = ["x"]',
            'sources = ["x", "y"]\njoined_sources = ["x", "y"]\nrow_source = "x"',
            "x_id is unique",
        ),
        ('kind = "dimension"', 'kind = "fact"', "begins with fact_"),
        ('kind = "dimension"', 'kind = "dimension"\nrecord_id = "x_id"', "has a record_id"),
        ("[columns]", '[columns]\nrun_id = { type = "int", comment = "" }', "run_id"),
        ("[columns]", '[columns]\nis_deleted = { type = "boolean", comment = "" }', "is_deleted"),
        ("[columns]", '[columns]\n_sequence = { type = "bigint", comment = "" }', "_sequence"),
        ("[columns]", '[columns]\n_place = { type = "int", comment = "" }', "_place"),
        ('type = "int"', 'type = "int", references = "y"', "x_id references y, which is no dim"),
        ("[columns]", '[columns]\nX_ID = { type = "int", comment = "" }', "X_ID, x_id: the Glue"),
        *(
            ('type = "int"', f'type = "{odd}"', f"x_id is of the type {re.escape(odd)}, which no")
            for odd in (
                "array<string>",
                "binary",
                "decimal",
                "interval day",
                "map<string,string>",
                "smallint",
                "struct<a:int>",
                "varchar(3)",
                "variant",
                "void",
            )
        ),
    ],
)
def test_a_malformed_declaration_is_refused_by_its_name(
    declare: Callable[[str], None], old: str, new: str, named: str
) -> None:
    declare(WHOLE.replace(old, new, 1))

    with pytest.raises(DeclarationInvalid, match=rf"tables/dim_x is invalid .*{named}.*: correct"):
        star_tables()


def test_the_digest_is_that_of_what_decides_about_the_rows(
    declare: Callable[[str], None], tmp_path: Path
) -> None:
    def digest(toml: str = WHOLE, select: str = "", source: str = 'natural_key = "x_id"') -> str:
        declare(toml)
        (tmp_path / files.SOURCES / "x.toml").write_text(source)
        if select:
            (tmp_path / files.TABLES / "dim_x.sql").write_text(select)
        return star_table("dim_x").digest

    same = {
        digest(),
        digest(select="select\n    x_id,\n    _sequence\nfrom x\n"),
        digest(WHOLE.replace("What x is", "Of x")),
        digest(source='natural_key = "x_id"\n[stopping_rules]\n"x is one" = "x_id = 1"'),
    }
    others = {
        digest(select="select x_id + 1 as x_id, _sequence from x"),
        digest(WHOLE.replace('"int"', '"bigint"')),
        digest(source='natural_key = "x_id"\n[rules]\n"x is one" = "x_id = 1"'),
    }
    assert (len(same), len(others), same & others) == (1, 3, set())


@pytest.mark.parametrize("section", ["rules", "stopping_rules"])
def test_a_rule_of_a_source_that_no_fact_reads_is_refused(
    declare: Callable[[str], None], tmp_path: Path, section: str
) -> None:
    declare(WHOLE)
    rule = f'natural_key = "x_id"\n[{section}]\n"y is one" = "y = 1"\n'
    (tmp_path / files.SOURCES / "x.toml").write_text(rule)

    said = "sources/x is invalid .*no fact has the rule 'y is one': .* stopping_rules of dim_x"
    with pytest.raises(DeclarationInvalid, match=said):
        star_tables()

    (tmp_path / files.TABLES / "fact_x.toml").write_text(
        WHOLE.replace("dimension", "fact").replace(
            "[columns]", 'record_id = "n"\n[columns]\nn = { type = "bigint", comment = "" }'
        )
    )
    (tmp_path / files.TABLES / "fact_x.sql").write_text("select x_id, _sequence from x")
    assert len(star_tables()) == 2


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("", "has a record_id"),
        ('record_id = "x_number"', "record_id x_number is not the first column"),
    ],
)
def test_a_fact_that_could_not_number_its_versions_is_refused(
    declare: Callable[[str], None], tmp_path: Path, given: str, named: str
) -> None:
    folder = tmp_path / files.TABLES
    fact = WHOLE.replace("dimension", "fact").replace("[columns]", f"{given}\n[columns]")
    (folder / "fact_x.toml").write_text(fact)
    (folder / "fact_x.sql").write_text("select x_id, _sequence from x")

    with pytest.raises(DeclarationInvalid, match=rf"tables/fact_x is invalid .*{named}"):
        star_tables()


def test_a_declaration_without_its_select_is_refused_by_its_name() -> None:
    with pytest.raises(DeclarationInvalid, match="tables/dim_nothing is invalid"):
        star_table("dim_nothing")
