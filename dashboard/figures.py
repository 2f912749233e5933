"""What a page shows of a chart's rows: totals, months, breakdowns and plain tables."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from markupsafe import Markup

from dashboard import life
from dashboard.charts import Bar, months
from dashboard.filters import Filters
from dashboard.queries import Chart, Page
from dashboard.warehouse import Row

MOST_CURRENCIES: Final = 6
"""How many currencies have a column of their own; a note names the number of the others."""
MOST_ROWS: Final = 10
"""How many categories are shown at first."""


@dataclass(frozen=True)
class Cell:
    """A number in a table, and the length of its bar in percent of the longest one."""

    value: Decimal | int | None
    percent: float | None = None


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        label: What it is about.
        cells: Its numbers.
        address: Where its label leads to; empty if nowhere.
        is_chosen: Whether it is a value that a filter has.
    """

    label: str
    cells: tuple[Cell, ...]
    address: str = ""
    is_chosen: bool = False


@dataclass(frozen=True)
class Figure:
    """A chart as the page shows it.

    Attributes:
        chart: The chart.
        statement: Its SQL with the parameters in it.
        first: The heading of its table's labels.
        columns: The headings of its table's numbers.
        lines: The lines of its table.
        drawings: Drawings, each with its caption.
        legend: The parts of the drawings' bars, if they are several.
        notes: What a reader has to know.
        hidden: How many lines are not shown.
        whole_address: The address with all lines.
    """

    chart: Chart
    statement: str
    first: str = ""
    columns: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    drawings: tuple[tuple[str, Markup], ...] = ()
    legend: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    hidden: int = 0
    whole_address: str = ""


def figure(page: Page, chart: Chart, rows: list[Row], filters: Filters, statement: str) -> Figure:
    """Returns a chart as the page shows it.

    Args:
        page: The page.
        chart: The chart.
        rows: What its query returned.
        filters: What the page was asked for.
        statement: Its SQL with the parameters in it.
    """
    if chart.kind == "table" or not rows:
        return _plain(chart, rows, statement)
    if chart.kind == "totals":
        return _totals(page, chart, rows, statement)
    return _pivot(page, chart, rows, filters, statement)


def _plain(chart: Chart, rows: list[Row], statement: str) -> Figure:
    first, *others = rows[0] if rows else ("",)
    lines = [
        Line(
            label=str(row[first]),
            cells=tuple(Cell(row[name]) for name in others),
            address=life.address(chart.table, str(row[first])) if chart.table else "",
        )
        for row in rows
    ]
    return Figure(chart, statement, _heading(first), tuple(map(_heading, others)), tuple(lines))


def _totals(page: Page, chart: Chart, rows: list[Row], statement: str) -> Figure:
    names = [name for name in rows[0] if name not in {"currency", "currency_name"}]
    columns = tuple(page.rows if name == "counted" else _heading(name) for name in names)
    lines = [Line(f"{row['currency']}", tuple(Cell(row[name]) for name in names)) for row in rows]
    return Figure(chart, statement, columns=columns, lines=tuple(lines))


def _heading(column: str) -> str:
    return column.replace("_", " ")


def _pivot(page: Page, chart: Chart, rows: list[Row], filters: Filters, statement: str) -> Figure:
    """Returns a table with a line for each category and a column for each currency."""
    currencies = _most_counted(rows, _currency)
    shown = sorted(currencies[:MOST_CURRENCIES])
    parts = sorted({_part(row) for row in rows})
    columns = [(currency, part) for currency in shown for part in parts]
    keys = _most_counted(rows, _key) if chart.filter else list(dict.fromkeys(map(_key, rows)))
    is_whole = filters.whole == chart.name or chart.kind == "months"
    visible = keys if is_whole else keys[:MOST_ROWS]
    further = len(currencies) - len(shown)

    def line(key: str, label: str, cells: tuple[Cell, ...]) -> Line:
        address = _address(page, chart, filters, key)
        return Line(label, cells, address, filters.has(chart.filter, key))

    return Figure(
        chart=chart,
        statement=statement,
        first="month" if chart.kind == "months" else chart.filter or "age",
        columns=(page.rows, *(" ".join(filter(None, one)) for one in columns)),
        lines=tuple(_lines(rows, visible, columns, line)),
        drawings=tuple(_drawings(chart, rows, shown, parts)),
        legend=tuple(parts) if len(parts) > 1 else (),
        notes=(f"{further} further currencies are counted, and have no column.",) * bool(further),
        hidden=len(keys) - len(visible),
        whole_address=filters.changed(whole=chart.name).address(page.name) + f"#{chart.name}",
    )


def _lines(
    rows: list[Row],
    keys: Sequence[str],
    columns: Sequence[tuple[str, str]],
    line: Callable[[str, str, tuple[Cell, ...]], Line],
) -> Iterable[Line]:
    labels = {_key(row): str(row["label"]) for row in rows}
    counts = _sums(rows, _key)
    amounts = {(_key(row), (row["currency"], _part(row))): Decimal(row["amount"]) for row in rows}
    most = {
        one: max((amount for (_, own), amount in amounts.items() if own == one), default=Decimal(0))
        for one in columns
    }
    for key in keys:
        numbers = [_cell(amounts.get((key, one)), most[one]) for one in columns]
        yield line(key, labels[key], (_cell(counts[key], max(counts.values())), *numbers))


def _drawings(
    chart: Chart, rows: list[Row], currencies: Sequence[str], parts: Sequence[str]
) -> Iterable[tuple[str, Markup]]:
    if chart.kind != "months":
        return
    for currency in currencies:
        bars = [
            Bar(row["label"], _part(row), Decimal(row["amount"]))
            for row in rows
            if row["currency"] == currency
        ]
        yield currency, months(bars, parts)


def _address(page: Page, chart: Chart, filters: Filters, key: str) -> str:
    """Returns the address with a line's value added to its filter, or removed from it."""
    if chart.kind == "months":
        return filters.of_month(key).address(page.name)
    if chart.filter:
        return filters.toggled(chart.filter, key).address(page.name) + f"#{chart.name}"
    return ""


def _cell(value: Decimal | int | None, most: Decimal | int) -> Cell:
    return Cell(value, max(0.0, float(100 * value / most)) if value and most > 0 else None)


def _key(row: Row) -> str:
    """Returns the text of a row's category in an address."""
    value = row.get("id", row["label"])
    return str(value).lower() if isinstance(value, bool) else str(value)


def _part(row: Row) -> str:
    return str(row.get("part", ""))


def _currency(row: Row) -> str:
    return str(row["currency"])


def _most_counted(rows: list[Row], key: Callable[[Row], str]) -> list[str]:
    counts = _sums(rows, key)
    return sorted(counts, key=lambda one: -counts[one])


def _sums(rows: list[Row], key: Callable[[Row], str]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for row in rows:
        sums[key(row)] = sums.get(key(row), 0) + row["counted"]
    return sums
