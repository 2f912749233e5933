"""The types of staged columns, and the values that a column of the warehouse cannot hold.

A staged column has the lake's type, so that staging a row never fails. PostgreSQL rounds a numeric
to the scale of its column, cuts trailing spaces to the length of its column, and takes all trailing
spaces of `character` for padding, without an error. So Load compares a value with its column before
it writes the value.
"""

import re
from dataclasses import dataclass
from typing import Final

from psycopg import sql
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    StringType,
    TimestampType,
    TimestamptzType,
    TimeType,
)

from lambdas.load.catalog import WarehouseColumn
from pipeline.errors import StarSchemaMismatch

_TIME = "time without time zone"
_STAGED: Final[dict[type[IcebergType], str]] = {
    BooleanType: "boolean",
    DateType: "date",
    DecimalType: "numeric",
    DoubleType: "double precision",
    FloatType: "real",
    IntegerType: "integer",
    LongType: "bigint",
    StringType: "text",
    TimeType: _TIME,
    TimestampType: "timestamp without time zone",
    TimestamptzType: "timestamp with time zone",
}
_BITS: Final = {"smallint": 16, "integer": 32, "bigint": 64}
_TEXTS: Final = frozenset({"text", "character varying", "character"})
_TYPE = re.compile(r"(?P<name>[a-z ]+?)(?:\((?P<modifiers>[\d,-]+)\))?(?P<zone> with.* time zone)?")


@dataclass(frozen=True)
class _Type:
    """A PostgreSQL type as `format_type` prints it: its name, and the numbers in parentheses."""

    name: str
    modifiers: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> "_Type":
        match = _TYPE.fullmatch(text)
        if match is None:
            return cls(text, ())
        modifiers = tuple(int(part) for part in (match["modifiers"] or "").split(",") if part)
        return cls(match["name"] + (match["zone"] or ""), modifiers)


def staged_type(table: str, column: WarehouseColumn, lake: IcebergType | None) -> str:
    """Returns the type that a column's values are staged as.

    Args:
        table: The star table.
        column: The column of the warehouse.
        lake: The column's type in the lake; None if no build has made the table.

    Raises:
        StarSchemaMismatch: No value of the lake's type fits the column's type.
    """
    wanted = _Type.of(column.type).name
    found = wanted if lake is None else _STAGED.get(type(lake), str(lake))
    if wanted == found or {wanted, found} <= _TEXTS:
        return found
    if found in _BITS and wanted in (*_BITS, "numeric"):
        return found
    if found == "text" and wanted == _TIME:
        return wanted
    raise StarSchemaMismatch(
        f"{table}.{column.name} is {lake} in the lake and {column.type} in the warehouse: change "
        "one of them by the SELECT and a rebuild, or by a migration"
    )


def is_text(kind: str) -> bool:
    """Returns whether values of a PostgreSQL type are compared by a collation."""
    return _Type.of(kind).name in _TEXTS


def misfit(column: WarehouseColumn, staged: str) -> sql.Composed | None:
    """Returns the condition that a staged value does not fit its column; None if every one fits."""
    value = sql.Identifier("stage", column.name)
    wanted = _Type.of(column.type)
    if wanted.name in _BITS:
        if _BITS[wanted.name] >= _BITS[staged]:
            return None
        most = 2 ** (_BITS[wanted.name] - 1)
        return sql.SQL("({} not between {} and {})").format(value, -most, most - 1)
    if not wanted.modifiers:
        return None
    if wanted.name in _TEXTS:
        is_padded = sql.SQL(
            "{0} <> pg_catalog.rtrim({0})" if wanted.name == "character" else "false"
        )
        return sql.SQL("(pg_catalog.length({}) > {} or {})").format(
            value, wanted.modifiers[0], is_padded.format(value)
        )
    if wanted.name == "numeric":
        precision, scale = wanted.modifiers
        return sql.SQL(
            "(pg_catalog.round({0}, {1}) <> {0} or pg_catalog.abs({0}) >= 10::numeric ^ {2})"
        ).format(value, scale, precision - scale)
    cast = sql.SQL(column.type)
    return sql.SQL("(({0}::{1})::{2} <> {0})").format(value, cast, sql.SQL(staged))
