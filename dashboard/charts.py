"""Drawings: a Vega-Lite specification, drawn on the server as SVG whose colours are the page's."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import vl_convert
from markupsafe import Markup

_SIZE: Final = {"width": 330, "height": 130}
_THOUSAND: Final = 1000
_COLOURS: Final = ("var(--mark)", "var(--mark-2)")
_CONFIG: Final[dict[str, Any]] = {
    "background": None,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "labelFont": "inherit",
        "labelFontSize": 11,
        "domainColor": "var(--line)",
        "gridColor": "var(--line)",
        "tickColor": "var(--line)",
        "title": None,
    },
}


@dataclass(frozen=True)
class Bar:
    """A bar of a drawing: its month (`2026-01`), its part of the month, and its height."""

    month: str
    part: str
    height: Decimal


def months(bars: Sequence[Bar], parts: Sequence[str]) -> Markup:
    """Draws bars by month, with the parts of a month stacked, as an SVG element.

    Args:
        bars: The bars.
        parts: The parts, at most two, from the bottom.
    """
    values = [
        {
            "month": f"{bar.month}-01T00:00:00Z",
            "height": float(bar.height),
            "part": bar.part,
            "order": parts.index(bar.part),
        }
        for bar in bars
    ]
    # Vega escapes text, and no text of the data is drawn.
    return Markup(_svg(values, parts))  # noqa: S704  # nosec B704


def warm_up() -> None:
    """Draws once: the first drawing takes a while longer."""
    months([Bar("2026-01", "", Decimal(1))], [""])


def _svg(values: list[dict[str, Any]], parts: Sequence[str]) -> str:
    largest = max((value["height"] for value in values), default=0)
    # The prefixes of SI include m, a thousandth, which reads as a million.
    form = "~s" if largest >= _THOUSAND else ",.2~f"
    specification = {
        **_SIZE,
        "config": _CONFIG,
        "data": {"values": values},
        "mark": {"type": "bar"},
        "encoding": {
            "x": {
                "field": "month",
                "timeUnit": "utcyearmonth",
                "axis": {"grid": False, "tickCount": 5, "labelOverlap": True},
            },
            "y": {
                "field": "height",
                "type": "quantitative",
                "axis": {"format": form, "tickCount": 3, "domain": False, "ticks": False},
            },
            "color": {
                "field": "part",
                "scale": {"domain": list(parts), "range": list(_COLOURS)},
                "legend": None,
            },
            "order": {"field": "order"},
        },
    }
    drawn: str = vl_convert.vegalite_to_svg(specification)
    return drawn
