"""A natural key as somebody wrote it: on a command line, or in an address of the dashboard."""

import datetime
from collections.abc import Callable
from typing import Any, Final

from pipeline.errors import InvalidInput
from star_schema.tables import StarTable


def _integer(bits: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = int(text)
        if not -(1 << bits - 1) <= number < 1 << bits - 1:
            raise ValueError
        return number

    return read


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError
    return text


_KEYS: Final[dict[str, Callable[[str], Any]]] = {
    "int": _integer(32),
    "bigint": _integer(64),
    "date": datetime.date.fromisoformat,
}
"""How a key is read, by its type in the lake."""


def read_key(star: StarTable, text: str) -> str:
    """Returns the text that a natural key has in every part.

    Args:
        star: The star table.
        text: The key as somebody wrote it.

    Raises:
        InvalidInput: The table can have no such key.
    """
    (kind,) = (column.type for column in star.columns if column.name == star.natural_key)
    try:
        return str(_KEYS.get(kind, _text)(text))
    except ValueError as error:
        message = f"{star.natural_key} is of the type {kind}, and {text!r} is not"
        raise InvalidInput(message) from error
