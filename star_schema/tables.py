"""The star tables: what each one is, and what it is made of.

A star table is a SELECT in star_schema/definitions/tables/<table>.sql and a declaration in the TOML
file beside it. Every stage reads the declaration; no stage derives a property from the table's
name, from a column's position or from the text of the SELECT.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from star_schema import files
from star_schema.rules import Rule, rules_of


class Kind(StrEnum):
    """Which versions of a row a star table keeps."""

    DIMENSION = "dimension"
    """The latest version of each key."""
    FACT = "fact"
    """Every version of each key, numbered by a record id."""


PREFIXES: Final = {Kind.DIMENSION: "dim_", Kind.FACT: "fact_"}
"""The prefix of a table's name by its kind: IAM policies and roles grant rights by it."""


@dataclass(frozen=True)
class StarColumn:
    """A column of a star table.

    Attributes:
        name: The column's name in the lake and in the warehouse.
        type: The column's Spark SQL type in the lake, as `DataFrame.dtypes` prints it.
        comment: What the column holds.
    """

    name: str
    type: str
    comment: str


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
    return tuple(star_table(name) for name in files.names(files.TABLES))


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
    own = declared.pop("own_columns", ())
    sources = tuple(declared.pop("sources"))
    (row_source,) = sources if len(sources) == 1 else (None,)
    declared.pop("calendar", None)  # star_schema.calendar reads it
    return StarTable(
        name=name,
        kind=Kind(declared.pop("kind")),
        select=select,
        record_id=declared.pop("record_id", None),
        sources=sources,
        row_source=declared.pop("row_source", row_source),
        joined_sources=tuple(declared.pop("joined_sources", ())),
        columns=tuple(columns.values()),
        own_columns=tuple(columns[column] for column in own),
        stopping_rules=rules_of({"stopping_rules": declared.pop("stopping_rules", {})}).stopping,
        **declared,
    )
