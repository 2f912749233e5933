"""The star schema's whole history: what is left of every state that a run has seen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.oracle.star import (
    DIMENSION_KEYS,
    RECORD_IDS,
    Row,
    calendar,
    dimension_rows,
    fact_rows,
    mentioned_years,
)


@dataclass(frozen=True)
class Version:
    """One row of a fact; its place in the fact's list, from 1, is its record id.

    Attributes:
        key: The natural key.
        content: The row's values by column.
        is_deleted: Whether the source no longer had the row; it keeps its last content.
        run: The number of the observation, from 1, that brought it.
        run_id: That observation's run.
    """

    key: Any
    content: Row
    is_deleted: bool
    run: int
    run_id: str


@dataclass(frozen=True)
class DimensionRow:
    """One row of a dimension: its latest content, whether it is gone, and the run that said so."""

    content: Row
    is_deleted: bool
    run_id: str


class HistoryOracle:
    """Knows what the star schema has to hold after a number of runs.

    It has to be told of every run, in order, while the source stands as that run found it.

    Attributes:
        facts: For each fact its versions, in the order of their record ids.
        dimensions: For each dimension its rows by key.
    """

    def __init__(self) -> None:
        self.facts: dict[str, list[Version]] = {fact: [] for fact in RECORD_IDS}
        self.dimensions: dict[str, dict[Any, DimensionRow]] = {name: {} for name in DIMENSION_KEYS}
        self._runs = 0
        self._years: set[int] = set()

    def observe(self, source: psycopg.Connection, run_id: str) -> None:
        """Takes in the source's state as a run found it."""
        self._runs += 1
        facts = fact_rows(source)
        for fact, rows in facts.items():
            self._observe_fact(fact, rows, run_id)
        for dimension, now in dimension_rows(source).items():
            self._observe_dimension(dimension, now, run_id)
        self._years |= mentioned_years(facts)
        self._observe_dimension("dim_date", calendar(self._years), run_id)

    def _observe_fact(self, fact: str, now: Mapping[Any, Row | None], run_id: str) -> None:
        versions = self.facts[fact]
        latest = {version.key: version for version in versions}
        for key in sorted(now.keys() | latest.keys()):
            before = latest.get(key)
            if key not in now:
                assert before is not None
                state = (before.content, True)
            elif (content := now[key]) is None:
                continue
            else:
                state = (content, False)
            if before is None or state != (before.content, before.is_deleted):
                versions.append(Version(key, *state, self._runs, run_id))

    def _observe_dimension(self, dimension: str, now: Mapping[Any, Row], run_id: str) -> None:
        rows = self.dimensions[dimension]
        for key in now.keys() | rows.keys():
            before = rows.get(key)
            if key in now:
                state = (now[key], False)
            else:
                assert before is not None
                state = (before.content, True)
            if before is None or state != (before.content, before.is_deleted):
                rows[key] = DimensionRow(*state, run_id)
