"""The text of a statement of Spark SQL, as far as it says what the rows are.

Source: Spark SQL Guide, "Literals" and "Comments".
"""

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Final

_PARTS: Final = re.compile(
    r"""
    (?P<gap> \s+ | --(?:\\\n|[^\r\n])* | /\*.*?\*/ )
    | (?P<literal> (?<!\w)[rR](?:'[^']*'|"[^"]*") | '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" )
    | `[^`]*`
    | .
    """,
    re.DOTALL | re.VERBOSE,
)


def words(text: str) -> tuple[str, ...]:
    """Returns what stands between blanks and comments; those in a literal or a name are its own."""
    parts = groupby(_PARTS.finditer(text), key=lambda part: part.lastgroup == "gap")
    return tuple("".join(part[0] for part in word) for is_gap, word in parts if not is_gap)


def without_comments(text: str) -> str:
    """Returns a statement without its comments, and a blank for each gap."""
    return " ".join(words(text))


def without_literals(text: str) -> str:
    """Returns a statement without its comments, and with no text in its literals."""
    return "".join(_of_no_literal(text))


def _of_no_literal(text: str) -> Iterator[str]:
    for part in _PARTS.finditer(text):
        yield {"gap": " ", "literal": "''"}.get(part.lastgroup or "", part[0])
