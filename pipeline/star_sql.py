"""The star tables, as their SQL files state them: which source tables each one reads.

A star table is one SELECT in glue_jobs/star_schema/sql/<table>.sql. The source tables are what it
reads after `from` and `join`; a table that takes part in a join is captured whole by Ingest
whenever it changes, so that its state at any run never needs its history.
"""

import re
from dataclasses import dataclass
from importlib import resources

_RELATION = re.compile(r"\b(from|join)\s+([a-z_][a-z0-9_]*)")
_CTE = re.compile(r"(?:\bwith|,)\s+([a-z_][a-z0-9_]*)\s+as\s*\(")
_ROW_BY_ROW = re.compile(
    r"\s*select\s+([a-z_][a-z0-9_]*)(?:\s+as\s+[a-z0-9_]+)?\s*,"
    r"(?:(?!\b(?:select|over)\b).)*\bfrom\s+[a-z_][a-z0-9_]*\s*",
    re.DOTALL,
)
_COMMENT = re.compile(r"--[^\n]*")
_REFERENCE_VIEWS = frozenset({"iso_4217"})
"""Views that the jobs bring themselves: no source tables."""
_SQL_PACKAGE = "glue_jobs.star_schema.sql"


@dataclass(frozen=True)
class StarTable:
    """One table of the star schema.

    Attributes:
        name: Its name in the lake and in the warehouse.
        select: The SELECT, in Spark SQL, over the source tables.
        sources: The source tables that it reads, in the order of their first mention.
        is_joined: Whether it joins its sources, so that a change of one changes rows of another.
        key_source: The source column that its key is, where the SELECT makes one row of each row
            of its source and takes the key as it is; elsewhere None.
    """

    name: str
    select: str
    sources: tuple[str, ...]
    is_joined: bool
    key_source: str | None

    @property
    def is_fact(self) -> bool:
        """Whether it keeps every version (a fact) or the latest one (a dimension)."""
        return self.name.startswith("fact_")


def parse(name: str, select: str) -> StarTable:
    """Returns a star table from its SELECT (lower-case keywords, bare table names)."""
    text = _COMMENT.sub("", select)
    ctes = set(_CTE.findall(text))
    own = ctes | _REFERENCE_VIEWS | {name}
    relations = [match for match in _RELATION.findall(text) if match[1] not in own]
    row_by_row = _ROW_BY_ROW.fullmatch(text)
    return StarTable(
        name=name,
        select=select,
        sources=tuple(dict.fromkeys(relation for _, relation in relations)),
        is_joined=any(keyword == "join" for keyword, _ in relations),
        key_source=row_by_row[1] if row_by_row else None,
    )


def star_tables() -> tuple[StarTable, ...]:
    """Returns every star table that has a SQL file, by name."""
    files = sorted(
        (entry for entry in resources.files(_SQL_PACKAGE).iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    return tuple(parse(entry.name.removesuffix(".sql"), entry.read_text()) for entry in files)


def joined_sources(tables: tuple[StarTable, ...]) -> frozenset[str]:
    """Returns the source tables that take part in a join of any star table."""
    return frozenset(source for table in tables if table.is_joined for source in table.sources)
