"""The raw type of each PostgreSQL type, and how its values are sent: docs/types.md.

Integers, booleans, dates, timestamps and numerics of a declared precision keep their type. Values
of all other types are sent as their output function prints them, as COPY and psql do. `numeric`
without a precision is such a type.
"""

import re
from dataclasses import dataclass

PRINTED = "case when pg_catalog.num_nulls({0}) = 0 then pg_catalog.format('%s', {0}) end"
"""The expression of a value as its type's output function prints it.

A cast to text can differ from it: `character` loses its trailing blanks, `inet` gains a mask, and
anybody may create a cast. `format` calls the output function of every type. `is null` is true for a
composite value whose fields are all null; `num_nulls` is not.
"""
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
_WIDEST_DECIMAL = 38


@dataclass(frozen=True)
class RawType:
    """A type of the raw zone.

    Attributes:
        name: The Arrow name of the Parquet column's type: `decimal128(10, 2)`.
        sent: The expression that the server evaluates; `{0}` is the column.
        kept: The expression that the reader evaluates; `{0}` is the value that was sent. Null if
            the type cannot hold the value.
        held: The server's condition that the type holds a value; empty if it holds all of them.
        limits: The values that the type holds, in words.
    """

    name: str
    sent: str = "{0}"
    kept: str = "{0}"
    held: str = ""
    limits: str = ""

    @property
    def holds_all(self) -> bool:
        """Whether the type holds every value of the source's type."""
        return not self.held


def raw_type(source_type: str) -> RawType:
    """Returns the raw type of a PostgreSQL type.

    Args:
        source_type: The type as `format_type` of PostgreSQL prints it, domains resolved.
    """
    if match := _NUMERIC.fullmatch(source_type):
        precision, scale = int(match[1]), int(match[2])
        if precision <= _WIDEST_DECIMAL and scale <= precision:
            return _decimal(precision, scale)
    for pattern, kind in _KINDS:
        if pattern.fullmatch(source_type):
            return kind
    return RawType("string", sent=PRINTED)


def _decimal(precision: int, scale: int) -> RawType:
    return RawType(
        f"decimal128({precision}, {scale})",
        sent="{0}::text",
        kept=f"try_cast({{0}} as decimal({precision}, {scale}))",
        held="{0} <> 'NaN'",
        limits="finite numbers",
    )


def _moment(name: str, kind: str, last: str) -> RawType:
    held = f"{{0}} between {kind} '0001-01-01' and {kind} {last}"
    return RawType(
        name,
        kept=f"case when {held} then {{0}} end",
        held=held,
        limits="the years 1 to 9999",
    )


_KINDS = (
    (re.compile("smallint"), RawType("int16")),
    (re.compile("integer"), RawType("int32")),
    (re.compile("bigint"), RawType("int64")),
    (re.compile("boolean"), RawType("bool")),
    (re.compile("real"), RawType("float")),
    (re.compile("double precision"), RawType("double")),
    (re.compile(r"text|character varying(\(\d+\))?"), RawType("string")),
    # Only a superuser can create a cast of these types, and their own casts print the value.
    (re.compile(r"numeric(\(\d+,-?\d+\))?|uuid|jsonb?|bytea"), RawType("string", "{0}::text")),
    (re.compile("date"), _moment("date32[day]", "date", "'9999-12-31'")),
    (
        re.compile(r"timestamp(\(\d\))? without time zone"),
        _moment("timestamp[us]", "timestamp", "'9999-12-31 23:59:59.999999'"),
    ),
    (
        re.compile(r"timestamp(\(\d\))? with time zone"),
        _moment("timestamp[us, tz=UTC]", "timestamptz", "'9999-12-31 23:59:59.999999+00'"),
    ),
)
