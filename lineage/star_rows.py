"""Runs a star table's SELECT and its source's rules on a few rows, by DuckDB."""

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import sqlglot
from sqlglot import exp

from lambdas.ingest.selection import identifier, literal
from lambdas.ingest.star_selects import iso_4217
from lineage.values import Content, content_of, text_of
from star_schema.duckdb_sql import in_duckdb
from star_schema.sources import declared_source
from star_schema.tables import StarTable


@dataclass(frozen=True)
class Made:
    """What a SELECT makes of a source row.

    Attributes:
        content: The star row; None if the SELECT gives none.
        broken_rules: The rules that the source row breaks: it goes to the quarantine.
        joined: The natural key of the row of each other source that the row was joined with.
        failure: Why the SELECT fails; empty if it does not.
    """

    content: Content | None = None
    broken_rules: tuple[str, ...] = ()
    joined: tuple[tuple[str, str], ...] = ()
    failure: str = ""


def made_of(star: StarTable, rows: Mapping[str, pa.Table], key: str) -> Made:
    """Returns what a star table's SELECT makes of rows.

    Args:
        star: The star table, which has a row source.
        rows: The rows of each of its sources.
        key: The natural key of the row that is wanted, as text.
    """
    config: dict[str, str | bool | int | float | list[str]] = {"autoload_known_extensions": False}
    with duckdb.connect(config=config) as database:
        database.execute("set timezone = 'UTC'")
        database.execute(iso_4217())
        for source, table in rows.items():
            database.register(f"rows of {source}", table)
            database.execute(
                f"create view {identifier(source)} as "  # noqa: S608  # nosec B608
                "select columns(lambda name: lower(name) <> '_sequence'), 1 as _sequence "
                f"from {identifier(f'rows of {source}')}"
            )
        try:
            return _made(database, star, key)
        except (duckdb.Error, sqlglot.errors.SqlglotError) as error:
            return Made(failure=str(error).splitlines()[0])


def _made(database: duckdb.DuckDBPyConnection, star: StarTable, key: str) -> Made:
    assert star.row_source is not None  # noqa: S101 - callers check it  # nosec B101
    source = declared_source(star.row_source)
    of_the_key = f"where {identifier(source.natural_key)}::varchar = {literal(key)}"
    broken = tuple(
        rule.demand
        for rule in source.rules.quarantining
        if database.execute(
            f"select not coalesce({in_duckdb(rule.condition)}, false) "  # noqa: S608  # nosec B608
            f"from {identifier(source.name)} {of_the_key}"
        ).fetchone()
        == (True,)
    )
    if broken:
        return Made(broken_rules=broken)
    made = database.execute(
        f"select * from ({in_duckdb(star.select)}) "  # noqa: S608  # nosec B608
        f"where {identifier(star.natural_key)}::varchar = {literal(key)}"
    )
    names = [str(column[0]) for column in made.description or ()]
    row = made.fetchone()
    if row is None:
        return Made()
    content = content_of(dict(zip(names, row, strict=True)), star.selected)
    return Made(content, joined=_joined(database, star, key))


def _joined(
    database: duckdb.DuckDBPyConnection, star: StarTable, key: str
) -> tuple[tuple[str, str], ...]:
    """Returns the natural keys of the joined rows: the SELECT with other columns."""
    query = sqlglot.parse_one(in_duckdb(star.select), read="duckdb")
    others = [source for source in star.joined_sources if source != star.row_source]
    tables = {table.name: table.alias_or_name for table in query.find_all(exp.Table)}
    if not others or not isinstance(query, exp.Select) or not tables.keys() >= set(others):
        return ()
    keys = [f'"{tables[one]}"."{declared_source(one).natural_key}"' for one in others]
    name = declared_source(str(star.row_source)).natural_key
    wanted = f'"{tables[str(star.row_source)]}"."{name}"::varchar = {literal(key)}'
    row = database.execute(
        query.select(*keys, append=False, dialect="duckdb")
        .where(wanted, dialect="duckdb")
        .sql("duckdb")
    ).fetchone()
    found = zip(others, map(text_of, row or ()), strict=False)
    return tuple((source, value) for source, value in found if value is not None)
