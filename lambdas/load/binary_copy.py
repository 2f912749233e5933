"""PostgreSQL's binary COPY format from Arrow record batches, a column at a time.

https://www.postgresql.org/docs/current/sql-copy.html defines the format. A row is the number of its
fields and, for each field, its length and its bytes; the length -1 is a null. The bytes are those
that the type's receive function reads: for a numeric, `numeric_recv` of numeric.c.
"""

import datetime
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"

_PART_BYTES = 1024 * 1024
"""The size of the part of a batch that is encoded at a time: it fits a processor's cache."""
_NULL = b"\xff\xff\xff\xff"
_BYTES = pa.large_binary()
_DAYS_TO_2000 = (datetime.date(2000, 1, 1) - datetime.date(1970, 1, 1)).days
_MICROSECONDS_TO_2000 = _DAYS_TO_2000 * 86_400_000_000
_NUMBERS: Final = {
    "smallint": (pa.int16(), ">i2"),
    "integer": (pa.int32(), ">i4"),
    "bigint": (pa.int64(), ">i8"),
    "boolean": (pa.uint8(), "u1"),
    "real": (pa.float32(), ">f4"),
    "double precision": (pa.float64(), ">f8"),
}
_NEGATIVE = 0x4000
# A numeric's digits are base 10,000: for each digit, its decimals without trailing zeros.
_DECIMALS_OF_DIGIT = np.count_nonzero(np.arange(10_000)[:, None] % (10, 100, 1000, 10_000), axis=1)

_Fields = list[tuple[Any, Any]]
"""Fields of fixed size that are adjacent in each row: the type, and the values or one constant."""


def encode(batch: pa.RecordBatch, types: Sequence[str]) -> Iterator[memoryview]:
    """Yields the encoded rows of a batch, about a megabyte at a time.

    Args:
        batch: The rows.
        types: Each column's PostgreSQL type, as `format_type` names it.

    Raises:
        pa.ArrowException: A value or an Arrow type does not fit its PostgreSQL type; the message
            begins with the column's name.
    """
    step = max(1, batch.num_rows // (batch.nbytes // _PART_BYTES + 1))
    for start in range(0, batch.num_rows, step):
        yield _rows(batch.slice(start, step), types)


def _rows(batch: pa.RecordBatch, types: Sequence[str]) -> memoryview:
    rows = batch.num_rows
    fields: _Fields = [(">i2", len(types))]
    parts: list[pa.Array] = []
    for name, column, kind in zip(batch.schema.names, batch.columns, types, strict=True):
        try:
            if kind.startswith(("character", "text")):
                text = column.cast(pa.large_string()).cast(_BYTES)
                lengths = pc.fill_null(pc.binary_length(text), -1).to_numpy()
                parts += [_joined([*fields, (">i4", lengths)], rows), pc.fill_null(text, b"")]
                fields = []
                continue
            values = _values(column, kind)
        except pa.ArrowException as error:
            raise type(error)(f"{name}: {error}") from error
        own: _Fields = [(">i4", values.dtype.itemsize), (values.dtype, values)]
        if not column.null_count:
            fields += own
            continue
        if fields:
            parts.append(_joined(fields, rows))
        parts.append(pc.if_else(column.is_valid(), _joined(own, rows), pa.scalar(_NULL, _BYTES)))
        fields = []
    if fields:
        parts.append(_joined(fields, rows))
    _, offsets, content = pc.binary_join_element_wise(*parts, pa.scalar(b"", _BYTES)).buffers()
    return memoryview(content)[: np.frombuffer(offsets, np.int64)[rows]]


def _joined(fields: _Fields, rows: int) -> pa.Array:
    """Returns the adjacent fields of each row as one binary value."""
    side_by_side = np.empty(rows, [(str(place), kind) for place, (kind, _) in enumerate(fields)])
    for place, (_, values) in enumerate(fields):
        side_by_side[str(place)] = values
    return pa.Array.from_buffers(
        pa.binary(side_by_side.itemsize), rows, [None, pa.py_buffer(side_by_side)]
    ).cast(_BYTES)


def _values(column: pa.Array, kind: str) -> NDArray[Any]:
    """Returns a column of fixed-size type in network byte order; a null has any value.

    Raises:
        pa.ArrowException: A value does not fit, or this type cannot be written.
    """
    if kind.startswith("numeric"):
        return _numerics(column)
    if kind == "date":
        return (_numbers(column.cast(pa.date32()), pa.int32()) - _DAYS_TO_2000).astype(">i4")
    if kind.startswith(("time ", "time(")):
        return _numbers(_times(column), pa.int64()).astype(">i8")
    if kind.startswith("timestamp"):
        moments = column.cast(pa.timestamp("us", column.type.tz))
        return (_numbers(moments, pa.int64()) - _MICROSECONDS_TO_2000).astype(">i8")
    if kind not in _NUMBERS:
        raise pa.ArrowNotImplementedError(f"PostgreSQL's {kind} is not among the types written")
    arrow_type, order = _NUMBERS[kind]
    return _numbers(column, arrow_type).astype(order)


def _numbers(column: pa.Array, arrow_type: pa.DataType) -> NDArray[Any]:
    numbers: NDArray[Any] = pc.fill_null(column.cast(arrow_type), 0).to_numpy()
    return numbers


def _times(column: pa.Array) -> pa.Array:
    """Returns times of day, which are text in the lake, as microseconds of 1970-01-01."""
    if pa.types.is_time(column.type):
        return column.cast(pa.time64("us"))
    moments = pc.binary_join_element_wise("1970-01-01", column.cast(pa.string()), " ")
    return moments.cast(pa.timestamp("us"))


def _numerics(column: pa.Array) -> NDArray[Any]:
    """Returns decimals without trailing zeros, exactly.

    Each has as many digits as the longest: PostgreSQL strips the leading and trailing zero digits.
    """
    if not pa.types.is_decimal128(column.type):
        raise pa.ArrowTypeError(f"numeric is written from decimal128, not from {column.type}")
    scale = column.type.scale
    padding = -scale % 4
    unscaled = pa.Array.from_buffers(
        pa.decimal128(38, 0), len(column), column.buffers(), offset=column.offset
    )
    unscaled = pc.fill_null(unscaled, 0)
    text = pc.abs(unscaled).cast(pa.string())
    longest = max(pc.max(pc.binary_length(text)).as_py() or 0, scale)
    width = longest + padding + -(longest + padding) % 4
    lined_up = pc.ascii_lpad(text, width - padding, "0").cast(pa.binary(width - padding))
    figures = np.zeros((len(column), width), np.int16)
    figures[:, : width - padding] = np.frombuffer(
        lined_up.buffers()[1], np.uint8, count=len(column) * (width - padding)
    ).reshape(len(column), -1)
    figures[:, : width - padding] -= ord("0")
    digits = figures[:, 0::4] * 1000 + figures[:, 1::4] * 100
    digits += figures[:, 2::4] * 10 + figures[:, 3::4]
    before_point = (width - scale - padding) // 4
    decimals = _DECIMALS_OF_DIGIT[digits[:, before_point:]].astype(np.int16)
    decimals += np.where(decimals, np.arange(decimals.shape[1], dtype=np.int16) * 4, 0)
    numerics = np.empty(
        len(column),
        [
            ("digit_count", ">i2"),
            ("weight", ">i2"),
            ("sign", ">u2"),
            ("scale", ">i2"),
            ("digits", ">i2", digits.shape[1]),
        ],
    )
    numerics["digit_count"] = digits.shape[1]
    numerics["weight"] = before_point - 1
    numerics["sign"] = pc.less(unscaled, 0).cast(pa.uint8()).to_numpy() * np.uint16(_NEGATIVE)
    numerics["scale"] = decimals.max(axis=1, initial=0)
    numerics["digits"] = digits
    return numerics
