"""A value's text: the same for a value of the raw zone, the lake, the warehouse and the source."""

import datetime
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.manifest import Column
from pipeline.raw_types import is_padded

Content = dict[str, str | None]
"""A star row's columns as text, by name."""


def text_of(value: Any) -> str | None:
    """Returns a value as text: a decimal without zeros at its end, a time with microseconds."""
    match value:
        case None:
            return None
        case bool():
            return str(value).lower()
        case Decimal():
            # Decimal.normalize() would round to 28 digits.
            whole, point, fraction = f"{value:f}".partition(".")
            return whole + (point + fraction).rstrip("0").rstrip(".")
        case datetime.time():
            return value.isoformat("microseconds")
        case _:
            return str(value)


def unpadded(rows: pa.Table, columns: Iterable[Column]) -> pa.Table:
    """Returns rows of the raw zone without the trailing blanks of padded types.

    Args:
        rows: The rows, with some of the columns.
        columns: The columns of their table.
    """
    for column in columns:
        if is_padded(column.source_type) and column.name in rows.column_names:
            place = rows.column_names.index(column.name)
            text = pc.utf8_rtrim(rows.column(place), characters=" ")
            rows = rows.set_column(place, column.name, text)
    return rows


def content_of(row: Mapping[str, Any], columns: tuple[str, ...]) -> Content:
    """Returns some columns of a row as text."""
    return {name: text_of(row.get(name)) for name in columns}


def changes(before: Content, now: Content) -> dict[str, tuple[str | None, str | None]]:
    """Returns the columns that differ, with the value before and now."""
    return {
        name: (before.get(name), value) for name, value in now.items() if before.get(name) != value
    }
