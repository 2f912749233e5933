"""Fingerprints of star rows: a row's canonical text and its MD5, the same in both databases.

The text is that of the row's columns, one after the other: `-` for a null, and otherwise the
number of the value's characters, a colon and the value. So no two rows have the same text: a null
is no empty string, and no value can pass for the end of another. A value reads as PostgreSQL
prints it, a numeric without zeros at its end, a time with its microseconds.

A star table's columns are integers, decimals, text, dates, booleans, and times (text in the lake).
MD5 is what both have built in; it tells accidents apart, not forgeries.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from psycopg import sql

WAITS_IN_QUARANTINE = "quarantine"
"""The source row breaks a rule: the lake's quarantine has it."""
WAITS_IN_RAW_QUARANTINE = "raw_quarantine"
"""The raw zone cannot hold a value of the source row, or of one that is joined to it."""


@dataclass(frozen=True)
class StarFingerprints:
    """The fingerprints of a star table's rows, computed from the source at one instant.

    The files are Parquet with the columns key (the star table's natural key), fingerprint, and
    waits_in: null, or where the source row has to be instead; its fingerprint is null then.

    Attributes:
        table: The star table.
        columns: The SELECT's columns in their order.
        files: Keys of the files, in the raw bucket.
        is_cumulative: Whether the SELECT reads the star table's own rows, so that the table keeps
            rows that the source no longer gives.
        failure: Why there are no fingerprints; empty if there are.
    """

    table: str
    columns: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    is_cumulative: bool = False
    failure: str = ""

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """Reads the fingerprints from JSON."""
        lists = {name: tuple(document[name]) for name in ("columns", "files")}
        return cls(**document | lists)


def duckdb_fingerprint(columns: Iterable[tuple[str, str]]) -> str:
    """Returns DuckDB's expression for a row's fingerprint.

    Args:
        columns: The columns' names, which have to be plain, and DuckDB's names of their types.
    """
    parts = (_canonical(_duckdb_text(f'"{name}"', kind)) for name, kind in columns)
    return f"md5(concat({', '.join(parts)}))"


def postgres_fingerprint(columns: Iterable[tuple[str, str]]) -> sql.Composed:
    """Returns PostgreSQL's expression for a row's fingerprint.

    Args:
        columns: The columns' names, and PostgreSQL's names of their types.
    """
    parts = (
        sql.SQL(_canonical("{0}")).format(_postgres_text(sql.Identifier(name), kind))
        for name, kind in columns
    )
    text = sql.SQL("pg_catalog.concat({})").format(sql.SQL(", ").join(parts))
    return sql.SQL("pg_catalog.md5(pg_catalog.convert_to({}, 'UTF8'))").format(text)


def _canonical(text: str) -> str:
    return f"coalesce(length({text}) || ':' || {text}, '-')"


def _duckdb_text(column: str, kind: str) -> str:
    text = f"{column}::varchar"
    has_decimals = kind.startswith("DECIMAL") and not kind.endswith(",0)")
    return f"rtrim(rtrim({text}, '0'), '.')" if has_decimals else text


def _postgres_text(column: sql.Identifier, kind: str) -> sql.Composed:
    if kind.startswith("numeric"):
        return sql.SQL("pg_catalog.trim_scale({})::text").format(column)
    if kind.startswith("time without"):
        return sql.SQL("pg_catalog.to_char({}, 'HH24:MI:SS.US')").format(column)
    return sql.SQL("{}::text").format(column)
