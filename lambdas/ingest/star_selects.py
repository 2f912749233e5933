"""Runs the star tables' SELECTs in DuckDB over rows of the source."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import duckdb

from lambdas.ingest.selection import identifier, literal
from lambdas.ingest.source_reader import copy_to_parquet
from pipeline.fingerprints import (
    WAITS_IN_QUARANTINE,
    WAITS_IN_RAW_QUARANTINE,
    duckdb_fingerprint,
)
from pipeline.manifest import Column
from pipeline.raw_types import is_padded
from star_schema.duckdb_sql import in_duckdb
from star_schema.iso_4217 import currencies
from star_schema.sources import declared_source
from star_schema.tables import StarTable

_MEMORY = "256MB"

Columns = tuple[tuple[str, str], ...]
"""Names and DuckDB types of a SELECT's columns."""


class StarSelects:
    """A DuckDB database whose views are the source tables.

    Args:
        folder: Where it puts what its memory does not hold.
        columns: The columns of each source table.
    """

    def __init__(self, folder: Path, columns: Mapping[str, Iterable[Column]]) -> None:
        self._padded = {
            source: {column.name: is_padded(column.source_type) for column in of_source}
            for source, of_source in columns.items()
        }
        self._duckdb = duckdb.connect(
            config={
                "threads": 1,
                "memory_limit": _MEMORY,
                # Files of one name follow each other, sooner than their times tell them apart.
                "enable_external_file_cache": False,
                "temp_directory": str(folder / "selects"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        self._run("set timezone = 'UTC'")
        self._run(iso_4217())
        self._run("create schema held")
        self._run("create table lost (source varchar, key varchar)")

    def close(self) -> None:
        """Closes the database."""
        self._duckdb.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, source: str, rows: Path) -> None:
        """Makes the rows of a Parquet file that satisfy the table's rules the view's only rows."""
        self._view(source, f"from {self._rows(source, rows)} where {_keeps_rules(source)}")

    def hold(self, source: str, rows: Path) -> None:
        """Adds the rows of a Parquet file to those of `show_held`."""
        table, shown = f"held.{identifier(source)}", self._rows(source, rows)
        self._run(f"create table if not exists {table} as from {shown} limit 0")
        self._run(f"insert into {table} from {shown}")

    def show_held(self, sources: Iterable[str]) -> None:
        """Makes all held rows of some tables the views' rows, whatever their rules."""
        for source in sources:
            self._view(source, f"from held.{identifier(source)}")

    def lose(self, source: str, values: Path) -> None:
        """Records the keys of rows that the raw zone cannot hold, from the file of their values."""
        name = declared_source(source).natural_key
        place = literal(f'$."{name}"')
        key = f"json_extract_string(source_row, {place})"
        if self._padded[source].get(name):
            key = _unpadded(key)
        self._run(
            f"insert into lost select distinct {literal(source)}, {key} "  # noqa: S608  # nosec B608
            f"from {_parquet(values)}"
        )

    def begin(self, star: StarTable) -> Columns:
        """Returns the columns of a SELECT, whose sources have to be shown.

        Raises:
            duckdb.Error: The SELECT does not fit its sources.
            sqlglot.errors.SqlglotError: The SELECT has no equivalent in DuckDB.
        """
        own = star.own_columns
        if own:
            nulls = ", ".join(f"null::{column.type} as {column.name}" for column in own)
            self._view(star.name, f"from (select {nulls}) where false")
        made = self._duckdb.execute(f"describe select * exclude (_sequence) {_made(star)}")
        columns = tuple((str(name), str(kind)) for name, kind, *_ in made.fetchall())
        if own:
            self._run(
                f"create table held.{star.name} as select * exclude (_sequence) {_made(star)}"
            )
        return columns

    def grow(self, star: StarTable) -> None:
        """Adds the rows of a SELECT that reads its own table.

        Raises:
            duckdb.Error: The SELECT fails.
        """
        self._view(star.name, f"from held.{star.name}")
        latest = f"row_number() over (partition by {star.natural_key} order by _sequence desc)"
        self._run(
            "create or replace temporary table grown as "
            f"select * exclude (_sequence) {_made(star)} qualify {latest} = 1"
        )
        self._run(f"create or replace table held.{star.name} as from grown")

    def write(self, star: StarTable, columns: Columns, path: Path) -> int:
        """Writes the fingerprints of a SELECT's rows.

        Raises:
            duckdb.Error: The SELECT fails.
        """
        made = f"from held.{star.name}" if star.own_columns else _made(star)
        return self._copy(
            f"select {star.natural_key} as key, {duckdb_fingerprint(columns)} as fingerprint, "
            f"null::varchar as waits_in {made}",
            path,
        )

    def write_broken(
        self, star: StarTable, source: str, columns: Columns, rows: Path, path: Path
    ) -> int:
        """Writes the keys of those rows of a Parquet file that break a rule of their table."""
        key = identifier(declared_source(source).natural_key)
        return self._copy(
            _waiting(key, star, columns, WAITS_IN_QUARANTINE)
            + f" from {self._rows(source, rows)} where not ({_keeps_rules(source)})",
            path,
        )

    def write_lost(self, star: StarTable, source: str, columns: Columns, path: Path) -> int:
        """Writes the keys of rows that are missing because the raw zone cannot hold a value.

        Args:
            star: The star table.
            source: Its row source.
            columns: The SELECT's columns.
            path: The file.
        """
        lost = f"select key from lost where source = {literal(source)}"  # noqa: S608  # nosec B608
        if star.joined_sources:
            key = identifier(declared_source(source).natural_key)
            sources = ", ".join(literal(source) for source in star.sources)
            lost += (
                f" union select {key}::varchar "  # noqa: S608  # nosec B608
                f"from held.{identifier(source)} "
                f"where exists (from lost where source in ({sources})) and {key} "
                f"not in (select {star.natural_key} {_made(star)})"
            )
        return self._copy(
            f"{_waiting('key', star, columns, WAITS_IN_RAW_QUARANTINE)} from ({lost})", path
        )

    def _view(self, name: str, rows: str) -> None:
        # A column of the source that has the name of the view's own is not visible to a SELECT.
        own = "columns(lambda name: lower(name) <> '_sequence')"
        self._run(
            f"create or replace view {identifier(name)} as select {own}, 1 as _sequence {rows}"
        )

    def _rows(self, source: str, rows: Path) -> str:
        """Returns the relation of the rows of a Parquet file, without padding."""
        padded, every = self._padded[source].values(), _parquet(rows)
        if not any(padded):
            return every
        # Columns whose names differ by case alone have other names here.
        described = self._duckdb.execute(f"describe from {every}").fetchall()
        trimmed = ", ".join(
            f"{_unpadded(identifier(name))} as {identifier(name)}"
            for (name, *_), is_trimmed in zip(described, padded, strict=True)
            if is_trimmed
        )
        return f"(select * replace ({trimmed}) from {every})"  # noqa: S608  # nosec B608

    def _copy(self, select: str, path: Path) -> int:
        return copy_to_parquet(self._duckdb, select, path)

    def _run(self, statement: str) -> None:
        self._duckdb.execute(statement)


def _made(star: StarTable) -> str:
    return f"from ({in_duckdb(star.select)})"


def _unpadded(text: str) -> str:
    return f"rtrim({text}, ' ')"


def _parquet(file: Path) -> str:
    return f"read_parquet({literal(str(file))})"


def _keeps_rules(source: str) -> str:
    rules = declared_source(source).rules.quarantining
    return " and ".join(f"coalesce({in_duckdb(rule.condition)}, false)" for rule in rules) or "true"


def _waiting(key: str, star: StarTable, columns: Columns, where: str) -> str:
    return (
        f"select {key}::{dict(columns)[star.natural_key]} as key, null::varchar as fingerprint, "
        f"{literal(where)} as waits_in"
    )


def iso_4217() -> str:
    """Returns DuckDB's statement that creates the table iso_4217."""
    values = ", ".join(f"({literal(code)}, {literal(name)})" for code, name in currencies())
    return f"create table iso_4217 as from (values {values}) as iso (code, name)"
