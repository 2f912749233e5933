"""Makes the HTML of a page. Whatever comes from data is escaped, and cut to a bounded size."""

from importlib import resources
from typing import Final

from lambdas.publish.observing import age
from lambdas.publish.page.facts import PageFacts

MOST_LINES: Final = 100
"""How many lines a table or a list has."""
LONGEST_TEXT: Final = 300
"""How many characters a text has. A page stays below 1.2 MB with every table full."""
_KIB: Final = 1024
_UNITS: Final = ("B", "KiB", "MiB", "GiB")


def render(facts: PageFacts) -> str:
    """Returns the page as HTML: one file, whose reader sends no request."""
    # Loaded with the first page: an import that not every invocation needs.
    import jinja2  # noqa: PLC0415

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update({"age": age, "size": size, "cut": cut, "number": number})
    text = (resources.files(__package__) / "run.html.jinja").read_text("utf-8")
    return environment.from_string(text).render(page=facts, most=MOST_LINES)


def cut(text: str, room: int = LONGEST_TEXT) -> str:
    """Returns the beginning of a text, with characters that would not be seen as escapes."""
    shown = "".join(
        one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in text[:room]
    )
    return shown if len(text) <= room else f"{shown}…"


def number(value: float) -> str:
    """Returns a number with separators of thousands."""
    return f"{value:,}"


def size(count: int) -> str:
    """Returns a number of bytes in the unit that suits it."""
    value = float(count)
    for unit in _UNITS:
        if value < _KIB or unit == _UNITS[-1]:
            break
        value /= _KIB
    return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
