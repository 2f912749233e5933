"""The pages and their SQL: a folder of queries/ for each page, declared in its page.toml.

A page's sources are common table expressions, each a file. `known` has the newest record that was
known at the chosen time, and the one named after the page the fact's rows then that match the
filters. `cells` has their sums by each category of a chart, from one scan of the fact: a row has
the category that it is a sum of, and null in the columns of the others. A chart is a query on one
of the sources, in the page's folder or in queries/shared.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

QUERIES: Final = Path(__file__).with_name("queries")
PAGES: Final = ("sales", "purchases", "payments", "waiting")


@dataclass(frozen=True)
class Source:
    """A common table expression of a page.

    Attributes:
        name: Its name.
        query: Its SQL.
        is_input: Whether it is `known` or the fact's rows, which every other source may need.
        is_read_once: Whether its result is kept: not the fact's rows, of which a reader takes what
            it needs.
    """

    name: str
    query: str
    is_input: bool
    is_read_once: bool

    def __str__(self) -> str:
        kind = "materialized" if self.is_read_once else "not materialized"
        return f"{self.name} as {kind} (\n{self.query}\n)"


@dataclass(frozen=True)
class Chart:
    """A chart of a page.

    Attributes:
        name: The name of its SQL file.
        kind: What its rows are: totals, months, breakdown or table.
        title: Its heading.
        query: Its SQL, after the sources.
        source: The source that it reads.
        filter: The filter that its categories are values of; empty if there is none.
        table: The star table of its rows, whose first column is the natural key; empty if its rows
            are not those of one.
        note: What a reader has to know.
    """

    name: str
    kind: str
    title: str
    query: str
    source: str = "cells"
    filter: str = ""
    table: str = ""
    note: str = ""


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        name: Its name in the address.
        title: Its heading.
        rows: What is counted.
        filters: The filters that it applies, besides period and time.
        sources: The common table expressions.
        charts: The charts, in their order.
        period: Which day the period is about; empty if there is none.
        note: What a reader has to know.
    """

    name: str
    title: str
    rows: str
    filters: tuple[str, ...]
    sources: tuple[Source, ...]
    charts: tuple[Chart, ...]
    period: str
    note: str = ""

    def query_of(self, chart: Chart) -> str:
        """Returns the whole query of a chart: what the page shows beside it."""
        wanted = [one for one in self.sources if one.is_input or one.name == chart.source]
        return _with([str(one) for one in wanted], chart.query)

    def query(self) -> str:
        """Returns one query for all charts, which reads each source once.

        Its only value is an object with an array of rows for each chart.
        """
        charts = [f"{chart.name} as (\n{chart.query}\n)" for chart in self.charts]
        rows = ",\n".join(
            f"    '{chart.name}', (select pg_catalog.json_agg({chart.name}) from {chart.name})"  # noqa: S608  # nosec B608
            for chart in self.charts
        )
        return _with(
            [*map(str, self.sources), *charts], f"select pg_catalog.json_build_object(\n{rows}\n)"
        )


@cache
def page(name: str) -> Page:
    """Returns a page.

    Args:
        name: One of PAGES.
    """
    declared = tomllib.loads((QUERIES / name / "page.toml").read_text())
    names: list[str] = declared.pop("sources")
    charts: list[dict[str, str]] = declared.pop("charts")
    return Page(
        name=name,
        filters=tuple(declared.pop("filters")),
        sources=tuple(
            Source(source, _text(name, source), source in {"known", name}, source != name)
            for source in names
        ),
        charts=tuple(Chart(query=_text(name, chart["name"]), **chart) for chart in charts),
        **declared,
    )


def query(name: str) -> str:
    """Returns a query that belongs to no page."""
    return (QUERIES / f"{name}.sql").read_text().strip()


def _text(page_name: str, name: str) -> str:
    own = QUERIES / page_name / f"{name}.sql"
    file = own if own.exists() else QUERIES / "shared" / own.name
    return file.read_text().strip()


def _with(expressions: Iterable[str], body: str) -> str:
    joined = ",\n".join(expressions)
    return f"with {joined}\n{body}" if joined else body
