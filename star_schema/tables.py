"""The star tables: what each one is, and what it is made of.

A star table is a SELECT in star_schema/definitions/tables/<table>.sql and a declaration in the TOML
file beside it. Every stage reads the declaration; no stage derives a property from the table's
name, from a column's position or from the text of the SELECT.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from star_schema import files
from star_schema.rules import Rule, rules_of
from star_schema.sources import SourceDeclaration, source_declaration
from star_schema.sql_text import words


class Kind(StrEnum):
    """Which versions of a row a star table keeps."""

    DIMENSION = "dimension"
    """The latest version of each key."""
    FACT = "fact"
    """Every version of each key, numbered by a record id."""


PREFIXES: Final = {Kind.DIMENSION: "dim_", Kind.FACT: "fact_"}
"""The prefix of a table's name by its kind: IAM policies and roles grant rights by it."""


_LOADED: Final = re.compile(
    r"boolean|date|decimal\(\d+,\d+\)|double|float|int|bigint|string|timestamp(_ntz)?"
)
"""The types that Load knows, as Spark SQL prints them."""


@dataclass(frozen=True)
class StarColumn:
    """A column of a star table.

    Attributes:
        name: The column's name in the lake and in the warehouse.
        type: The column's Spark SQL type in the lake, as `DataFrame.dtypes` prints it.
        comment: What the column holds.
        references: The dimension whose natural key the column holds; None for any other value. The
            warehouse has a foreign key to it.
    """

    name: str
    type: str
    comment: str
    references: str | None = None


ADDED_COLUMNS: Final = (
    StarColumn("is_deleted", "boolean", "Whether the row has gone from the source"),
    StarColumn("run_id", "string", "Name of the execution that brought this version"),
    StarColumn(
        "_sequence", "bigint", "Number of the run that brought this version: the order of history"
    ),
)
"""The columns that the build adds to the columns of a SELECT. The warehouse has no `_sequence`."""


@dataclass(frozen=True)
class StarTable:
    """A table of the star schema.

    Attributes:
        name: The table's name in the lake and in the warehouse.
        kind: Whether the table is a dimension or a fact.
        comment: What the table holds.
        select: The SELECT in Spark SQL over the source tables.
        natural_key: The column that identifies a row of the source.
        record_id: The column that numbers a fact's versions; None for a dimension.
        sources: The source tables that the SELECT reads.
        row_source: The source table whose rows each give one row and its natural key; by default
            the only source. None for a table that computes its rows, such as a calendar.
        joined_sources: The source tables that the SELECT joins with each other: a change in one
            changes rows of another, so Ingest captures them whole.
        columns: The columns in order: the record id, if any, then those of the SELECT.
        own_columns: The columns of the table itself that the SELECT reads, as the last build left
            them.
        stopping_rules: Rules for the rows of the SELECT; a row that breaks one stops the build.
    """

    name: str
    kind: Kind
    comment: str
    select: str
    natural_key: str
    record_id: str | None
    sources: tuple[str, ...]
    row_source: str | None
    joined_sources: tuple[str, ...]
    columns: tuple[StarColumn, ...]
    own_columns: tuple[StarColumn, ...]
    stopping_rules: tuple[Rule, ...]

    @property
    def is_fact(self) -> bool:
        """Whether the table keeps every version of a row."""
        return self.kind is Kind.FACT

    @property
    def digest(self) -> str:
        """A digest of what decides about the table's rows: SELECT, columns and rules.

        Comments and line breaks of the SELECT are not among it; blanks in its literals are.
        """
        declared = filter(None, map(source_declaration, self.sources))
        rules = [one.rules.quarantining for one in declared]
        columns = [(column.name, column.type) for column in self.columns]
        text = repr(([*words(self.select)], columns, rules))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def selected(self) -> tuple[str, ...]:
        """The names of the columns that the SELECT gives, without `_sequence`."""
        return tuple(column.name for column in self.columns if column.name != self.record_id)


def ddl(columns: Iterable[StarColumn]) -> str:
    """Returns the names and types of columns, as DDL has them."""
    return ", ".join(f"{column.name} {column.type}" for column in columns)


def comments(columns: Iterable[StarColumn]) -> dict[str, str]:
    """Returns the comment of each column."""
    return {column.name: column.comment for column in columns}


def star_tables() -> tuple[StarTable, ...]:
    """Returns the star tables, by name.

    Raises:
        DeclarationInvalid: A table's files are malformed or incomplete.
    """
    stars = tuple(star_table(name) for name in files.names(files.TABLES))
    dimensions = {star.name for star in stars if not star.is_fact}
    for star in stars:
        with files.naming_the_file(files.TABLES, star.name):
            _check_references(star, dimensions)
    of_facts = {source for star in stars if star.is_fact for source in star.sources}
    for star in stars:
        if not star.is_fact and star.row_source:
            for source in filter(None, map(source_declaration, set(star.sources) - of_facts)):
                with files.naming_the_file(files.SOURCES, source.name):
                    _check_no_rules(source, star)
    return stars


def _check_references(star: StarTable, dimensions: Collection[str]) -> None:
    for column in star.columns:
        if column.references not in (None, *dimensions):
            raise ValueError(f"{column.name} references {column.references}, which is no dimension")


def _check_no_rules(source: SourceDeclaration, star: StarTable) -> None:
    if source.rules.every:
        raise ValueError(
            f"no fact has the rule '{source.rules.every[0].demand}': state it in the "
            f"stopping_rules of {star.name}.toml"
        )


def star_table(name: str) -> StarTable:
    """Returns the star table of a name.

    Raises:
        DeclarationInvalid: There is no such table, or its files are malformed or incomplete.
    """
    document = files.document(files.TABLES, name)
    with files.naming_the_file(files.TABLES, name):
        return _parsed(name, files.select(name), document)


def joined_sources(tables: Iterable[StarTable]) -> frozenset[str]:
    """Returns the source tables that the SELECT of any star table joins."""
    return frozenset(source for table in tables for source in table.joined_sources)


def _parsed(name: str, select: str, document: Mapping[str, Any]) -> StarTable:
    declared = dict(document)
    columns = {
        column: StarColumn(column, **entry) for column, entry in declared.pop("columns").items()
    }
    added = {column.name for column in ADDED_COLUMNS}
    if reserved := [column for column in columns if column in added or column.startswith("_")]:
        raise ValueError(f"{', '.join(reserved)}: the build has columns of its own of such names")
    own = _list_of(declared, "own_columns")
    sources = tuple(_list_of(declared, "sources"))
    if not sources:
        raise KeyError("sources")
    (row_source,) = sources if len(sources) == 1 else (None,)
    declared.pop("calendar", None)  # star_schema.calendar reads it
    star = StarTable(
        name=name,
        kind=Kind(declared.pop("kind")),
        select=select,
        record_id=declared.pop("record_id", None),
        sources=sources,
        row_source=declared.pop("row_source", row_source),
        joined_sources=tuple(_list_of(declared, "joined_sources")),
        columns=tuple(columns.values()),
        own_columns=tuple(columns[column] for column in own),
        stopping_rules=rules_of({"stopping_rules": declared.pop("stopping_rules", {})}).stopping,
        **declared,
    )
    for problem in _contradictions(star):
        raise ValueError(problem)
    return star


def _list_of(declared: dict[str, Any], name: str) -> list[str]:
    """Takes a list of names out of a declaration; a text would be read letter by letter."""
    names = declared.pop(name, [])
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise TypeError(f"{name} is no list of names")
    return names


def _contradictions(star: StarTable) -> Iterator[str]:
    """Yields what a declaration says of a table that no build could do, or only without a word."""
    if not star.name.startswith(PREFIXES[star.kind]):
        yield f"the name of a {star.kind} begins with {PREFIXES[star.kind]}"
    if star.is_fact != (star.record_id is not None):
        yield "a fact, and no dimension, has a record_id"
    if star.record_id and (not star.columns or star.columns[0].name != star.record_id):
        yield f"record_id {star.record_id} is not the first column"
    if star.natural_key not in star.selected:
        yield f"natural_key {star.natural_key} is none of the columns that the SELECT gives"
    if star.row_source and star.row_source not in star.sources:
        yield f"row_source {star.row_source} is none of the sources"
    if star.joined_sources and set(star.joined_sources) != set(star.sources):
        yield "joined_sources are all sources or none"
    if star.joined_sources and not star.row_source:
        yield "a SELECT that joins needs a row_source, by whose keys deletions are told"
    spelled = Counter(column.name.casefold() for column in star.columns)
    if alike := [column.name for column in star.columns if spelled[column.name.casefold()] > 1]:
        yield f"{', '.join(alike)}: the Glue Data Catalog does not tell upper from lower case"
    if odd := [column for column in star.columns if not _LOADED.fullmatch(column.type)]:
        yield (
            f"{odd[0].name} is of the type {odd[0].type}, which no load knows: give its parts, "
            "or its text, as columns"
        )
    unique = f"{star.natural_key} is unique"
    if star.joined_sources and unique not in {rule.demand for rule in star.stopping_rules}:
        yield f"a SELECT that joins needs the stopping rule '{unique}'"
