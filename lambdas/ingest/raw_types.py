"""How a PostgreSQL type is stored in the raw zone.

Integers, booleans, dates, timestamps and numerics of a declared precision keep their type. All
else travels as PostgreSQL's own text, which loses nothing: `numeric` without a precision above all.
"""

import re

import pyarrow as pa

_PLAIN: dict[str, pa.DataType] = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "real": pa.float32(),
    "double precision": pa.float64(),
}
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
_TIMESTAMP = re.compile(r"timestamp(\(\d\))? without time zone")
_TIMESTAMP_WITH_ZONE = re.compile(r"timestamp(\(\d\))? with time zone")
_WIDEST_DECIMAL = 38


def raw_type(source_type: str) -> pa.DataType:
    """Returns the Arrow type that holds every finite value of a PostgreSQL type exactly.

    Args:
        source_type: The type as `format_type` of PostgreSQL prints it, domains resolved.
    """
    if source_type in _PLAIN:
        return _PLAIN[source_type]
    if match := _NUMERIC.fullmatch(source_type):
        precision, scale = int(match[1]), int(match[2])
        if precision <= _WIDEST_DECIMAL and scale <= precision:
            return pa.decimal128(precision, scale)
    if _TIMESTAMP.fullmatch(source_type):
        return pa.timestamp("us")
    if _TIMESTAMP_WITH_ZONE.fullmatch(source_type):
        return pa.timestamp("us", tz="UTC")
    return pa.string()
