"""Bounds of captured dates: what file metrics tell of the versions that may equal a captured row.

A version that equals a row has the row's dates. A change that sets a date of its own, such as
`last_updated`, has a later one than all versions before it: the files of those need not be read.
"""

from collections.abc import Iterator
from typing import Final

from pyspark.sql import DataFrame, Row

from glue_jobs.build.spark_sql import quoted

_NUMBERS: Final = {
    "date": ("unix_date({})", "date_from_unix_date({})"),
    "timestamp": ("unix_micros({})", "timestamp_micros({})"),
    "timestamp_ntz": (
        "unix_micros(cast({} as timestamp))",
        "cast(timestamp_micros({}) as timestamp_ntz)",
    ),
}
"""An instant's number and the instant of a number, by type; the session's time zone is UTC.

As a text, or as Python's, not every instant would come back."""


def within_bounds(rows: DataFrame) -> str:
    """Returns a condition, in Spark SQL, on the columns that are dates or timestamps.

    Args:
        rows: At least one row. The bounds alone are collected.

    Returns:
        A condition that each of the rows meets, and each row with the same content; `true` if they
        have no such column.
    """
    kinds = {name: kind for name, kind in rows.dtypes if kind in _NUMBERS}
    bounds = (
        f"struct(min({number}) as least, max({number}) as most, "
        f"max({number} is null) as has_null) as {quoted(name)}"
        for name, kind in kinds.items()
        for number in [_NUMBERS[kind][0].format(quoted(name))]
    )
    found = rows.selectExpr(*bounds).first() if kinds else None
    if found is None:
        return "true"
    return " and ".join(f"({' or '.join(_met(n, kind, found[n]))})" for n, kind in kinds.items())


def _met(name: str, kind: str, bounds: Row) -> Iterator[str]:
    """Yields what is alternatively true of a column whose bounds are given."""
    if bounds.least is not None:
        least, most = (_NUMBERS[kind][1].format(f"{n}L") for n in (bounds.least, bounds.most))
        yield f"{quoted(name)} between {least} and {most}"
    if bounds.has_null or bounds.least is None:
        yield f"{quoted(name)} is null"
