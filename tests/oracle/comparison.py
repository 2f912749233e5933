"""Holds the star schema's rows against the oracle's; a difference is one line of text."""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from tests.oracle.history import HistoryOracle
from tests.oracle.star import (
    DIMENSION_KEYS,
    RECORD_IDS,
    Row,
    Rows,
    calendar,
    dimension_rows,
    fact_rows,
    mentioned_years,
    natural_key,
)


def current_differences(source: psycopg.Connection, warehouse: psycopg.Connection) -> list[str]:
    """Compares what the warehouse says is true now with the source.

    dim_date may cover more years than the source still mentions, since a calendar never shrinks.

    Returns:
        The differences of the live rows of every dimension and of the views of the facts.
    """
    differences: list[str] = []
    facts = fact_rows(source)
    for dimension, wanted in dimension_rows(source).items():
        found = _live(_read(warehouse, dimension), DIMENSION_KEYS[dimension])
        differences += differences_of(dimension, wanted, found)
    for fact, rows in facts.items():
        view = f"current_{fact.removeprefix('fact_')}"
        found = _live(_read(warehouse, view), natural_key(fact), RECORD_IDS[fact])
        buildable = {key: row for key, row in rows.items() if row is not None}
        differences += differences_of(view, buildable, found)
    days = calendar(mentioned_years(facts))
    found = _live(_read(warehouse, "dim_date"), "date_id")
    mentioned = {key: row for key, row in found.items() if key in days}
    return differences + differences_of("dim_date", days, mentioned)


def history_differences(oracle: HistoryOracle, warehouse: psycopg.Connection) -> list[str]:
    """Compares every row of the warehouse, deleted and superseded ones too, with the oracle."""
    differences: list[str] = []
    for dimension, key in DIMENSION_KEYS.items():
        found = {row[key]: row for row in _read(warehouse, dimension)}
        differences += differences_of(dimension, wanted_dimension(oracle, dimension), found)
    for fact, record_id in RECORD_IDS.items():
        found = {row[record_id]: row for row in _read(warehouse, fact)}
        differences += differences_of(fact, wanted_fact(oracle, fact), found)
    return differences


def wanted_dimension(oracle: HistoryOracle, dimension: str) -> Rows:
    """Returns a dimension's rows by key, as the warehouse has them."""
    return {
        key: {**row.content, "is_deleted": row.is_deleted, "run_id": row.run_id}
        for key, row in oracle.dimensions[dimension].items()
    }


def wanted_fact(oracle: HistoryOracle, fact: str) -> Rows:
    """Returns a fact's rows by record id, as the warehouse has them."""
    return {
        number: {
            RECORD_IDS[fact]: number,
            **version.content,
            "is_deleted": version.is_deleted,
            "run_id": version.run_id,
        }
        for number, version in enumerate(oracle.facts[fact], start=1)
    }


def differences_of(table: str, wanted: Mapping[Any, Row], found: Mapping[Any, Row]) -> list[str]:
    """Compares the rows of a table, by key."""
    return [
        f"{table} {key}: {difference}"
        for key in sorted(wanted.keys() | found.keys())
        for difference in _row_differences(wanted.get(key), found.get(key))
    ]


def _row_differences(wanted: Row | None, found: Row | None) -> list[str]:
    if wanted is None:
        return [f"should not be there: {found}"]
    if found is None:
        return [f"is missing: {wanted}"]
    if list(wanted) != list(found):
        return [f"has the columns {', '.join(found)} instead of {', '.join(wanted)}"]
    return [
        f"{name} is {found[name]!r} instead of {wanted[name]!r}"
        for name in wanted
        if found[name] != wanted[name]
    ]


def _read(warehouse: psycopg.Connection, table: str) -> list[Row]:
    with warehouse.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(sql.SQL("select * from {}").format(sql.Identifier(table))).fetchall()


def _live(rows: list[Row], key: str, *more_than_content: str) -> Rows:
    dropped = {"is_deleted", "run_id", *more_than_content}
    return {
        row[key]: {name: value for name, value in row.items() if name not in dropped}
        for row in rows
        if not row["is_deleted"]
    }
