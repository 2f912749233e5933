"""A row's fingerprint in plain Python."""

import hashlib
from datetime import time
from decimal import Decimal
from typing import Any


def canonical_text(values: list[Any]) -> str:
    """Returns the text that no other row of as many values has."""
    return "".join("-" if value is None else _prefixed(_text(value)) for value in values)


def fingerprint(values: list[Any]) -> str:
    """Returns the text's MD5."""
    return hashlib.md5(canonical_text(values).encode()).hexdigest()


def _prefixed(text: str) -> str:
    return f"{len(text)}:{text}"


def _text(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Decimal():
            text = format(value, "f")
            return text.rstrip("0").rstrip(".") if "." in text else text
        case time():
            return value.isoformat("microseconds")
        case _:
            return str(value)
