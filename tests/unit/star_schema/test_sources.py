"""Source tables have a natural key and the rules that their facts need."""

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from pipeline.errors import DeclarationInvalid
from star_schema import files
from star_schema.sources import declared_source, source_declaration
from star_schema.tables import StarTable, star_tables
from tests.fixtures.lake import STAR

FACTS = [star for star in star_tables() if star.is_fact]
SOURCES = sorted({source for star in star_tables() for source in star.sources})

of_each_fact = pytest.mark.parametrize("fact", FACTS, ids=lambda star: star.name)


def selects(fact: StarTable) -> list[exp.Expr]:
    query = sqlglot.parse_one(fact.select, read="spark")
    assert isinstance(query, exp.Query)
    return [one for one in query.selects if one.alias_or_name != "_sequence"]


def ruled(fact: StarTable, *, but: str = "") -> set[str]:
    """Returns the columns that a fact's source has rules for."""
    (source,) = fact.sources
    demands = [rule.demand for rule in declared_source(source).rules.every]
    return {demand.split(" ")[0] for demand in demands if not (but and demand.endswith(but))}


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_is_identified_by_its_own_id(source: str) -> None:
    assert declared_source(source).natural_key == f"{source}_id"


@of_each_fact
def test_a_fact_has_rules_for_every_date_moment_and_decimal_that_its_select_casts(
    fact: StarTable,
) -> None:
    casts = {cast.this.name for one in selects(fact) for cast in one.find_all(exp.Cast)}

    assert ruled(fact, but=" is given") == casts


@of_each_fact
def test_a_fact_has_a_rule_for_every_column_that_the_warehouse_requires(fact: StarTable) -> None:
    read = {column.name for one in selects(fact) for column in one.find_all(exp.Column)}
    (source,) = fact.sources

    assert all(column.is_required for column in STAR[fact.name])
    assert ruled(fact) == read - {declared_source(source).natural_key}


def test_quarantining_rules_are_of_facts_sources_only() -> None:
    of_facts = {source for fact in FACTS for source in fact.sources}

    assert {one for one in SOURCES if declared_source(one).rules.every} <= of_facts


@pytest.mark.parametrize("source", SOURCES)
def test_demands_tell_the_rules_of_a_table_apart(source: str) -> None:
    demands = [rule.demand for rule in declared_source(source).rules.every]

    assert len(demands) == len(set(demands))
    assert not [demand for demand in demands if "; " in demand]


def test_a_table_that_no_star_table_reads_has_no_declaration() -> None:
    assert source_declaration("_prisma_migrations") is None
    assert source_declaration("payment") == declared_source("payment")


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Declares the one source table x."""
    (tmp_path / files.SOURCES).mkdir()
    monkeypatch.setattr(files, "root", lambda: tmp_path)

    def put(toml: str) -> None:
        (tmp_path / files.SOURCES / "x.toml").write_text(toml)
        (tmp_path / files.TABLES).mkdir(exist_ok=True)
        (tmp_path / files.TABLES / "dim_date.toml").write_text(
            "[calendar]\nfirst = 2001-02-03\nlast = 2004-05-06"
        )

    return put


def test_the_vocabulary_expands_to_conditions_in_the_order_of_the_file(
    declare: Callable[[str], None],
) -> None:
    declare("""
natural_key = "x_id"
[rules]
dates = ["day"]
moments = ["made_at"]
amounts = ["price"]
"price is positive" = "price > 0"
given = ["a", "b"]
[stopping_rules]
given = ["x_id"]
""")

    rules = declared_source("x").rules

    assert [(rule.demand, rule.condition) for rule in rules.quarantining] == [
        (
            "day is a date, YYYY-MM-DD",
            "cast(try_cast(day as date) as string) = day and "
            "try_cast(day as date) between date'0001-01-01' and date'9999-12-31'",
        ),
        (
            "day is between 2001-02-03 and 2004-05-06",
            "coalesce(try_cast(day as date) between date'2001-02-03' and date'2004-05-06', true)",
        ),
        (
            "made_at is a timestamp, without a zone if it is text",
            "made_at is null or try_cast(made_at as timestamp_ntz) = "
            "try_cast(made_at as timestamp)",
        ),
        (
            "made_at is between 2001-02-03 and 2004-05-06",
            "coalesce(try_cast(made_at as date) between date'2001-02-03' and date'2004-05-06', "
            "true)",
        ),
        (
            "price has at most 28 digits before the point and 10 after it",
            "cast(price as string) rlike '^-?[0-9]{1,28}([.][0-9]{0,10}0*)?$' or ("
            "cast(price as string) rlike '^-?[0-9]([.][0-9]+)?[Ee][-+]?[0-9]+$' and "
            "cast(cast(try_cast(cast(price as string) as decimal(38, 10)) as string) as double) "
            "= try_cast(cast(price as string) as double))",
        ),
        ("price is positive", "price > 0"),
        ("a is given", "a is not null"),
        ("b is given", "b is not null"),
    ]
    assert [rule.demand for rule in rules.stopping] == ["x_id is given"]
    assert rules.every == rules.stopping + rules.quarantining


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("", "natural_key"),
        ('natural_key = ["x_id", "y_id"]', "natural_key is no name"),
        ('natural_key = "x_id"\nrule = 1', "rule"),
        ('natural_key = "x_id"\n[rules]\ndays = ["day"]', "days"),
        ('natural_key = "x_id"\n[rules]\ngiven = 1', "int"),
    ],
)
def test_a_malformed_declaration_is_refused_by_its_name(
    declare: Callable[[str], None], toml: str, named: str
) -> None:
    declare(toml)

    with pytest.raises(DeclarationInvalid, match=rf"sources/x is invalid .*{named}"):
        source_declaration("x")
