"""Ranges of keys: what file and row group metrics can answer, and what rows are spread by.

A semi-join finds the rows of some keys by reading all rows. Where rows are sorted by their key, the
ranges that the keys lie in let Iceberg leave out the files, and Parquet the row groups, that hold
none of them (Iceberg documentation, "Performance: Metadata filtering").
"""

from dataclasses import dataclass
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as f

from glue_jobs.build.spark_sql import literal

RANGES: Final = 32
"""The maximum number of ranges of a condition; no more keys than this are listed one by one."""

_NUMBERS: Final = frozenset({"tinyint", "smallint", "int", "bigint"})


@dataclass(frozen=True)
class KeyRanges:
    """Ranges of a numeric key that hold about as many rows each.

    Attributes:
        key: The key's column.
        ends: The greatest key of each range but the last, in order.
    """

    key: str
    ends: tuple[int, ...]

    @classmethod
    def of(cls, rows: DataFrame, key: str) -> "KeyRanges | None":
        """Returns the ranges of some rows' keys; None if the key is no number.

        Only the keys are read. `repartitionByRange` would evaluate whole rows to sample them.
        """
        if dict(rows.dtypes)[key] not in _NUMBERS:
            return None
        shares = [part / RANGES for part in range(1, RANGES)]
        ends = rows.select(f.percentile_approx(key, shares)).first()
        return cls(key, tuple(sorted(set(ends[0]))) if ends and ends[0] else ())

    @property
    def count(self) -> int:
        """The number of ranges."""
        return len(self.ends) + 1

    def number(self) -> Column:
        """Returns the number of a key's range, from 0."""
        return _search(f.col(self.key), self.ends, 0)

    def counts(self, rows: DataFrame) -> tuple[int, ...]:
        """Returns how many rows each range has."""
        numbers = rows.select(self.number().alias("number"))
        found: dict[int, int] = dict(numbers.groupBy("number").count().collect())
        return tuple(found.get(number, 0) for number in range(self.count))


def _search(key: Column, ends: tuple[int, ...], first: int) -> Column:
    """Returns `first` and the number of ends below a key, by a binary search."""
    if not ends:
        return f.lit(first)
    middle = len(ends) // 2
    above = _search(key, ends[middle + 1 :], first + middle + 1)
    return f.when(key > ends[middle], above).otherwise(_search(key, ends[:middle], first))


def within_ranges(keys: DataFrame, column: str) -> str:
    """Returns a condition, in Spark SQL, that a column holds for each of some keys.

    Args:
        keys: The keys, in their only column. What is collected of them are the ends of ranges.
        column: The column as the condition is to name it.

    Returns:
        A condition that every one of the keys meets, and as few others as ranges can tell apart;
        `false` if there are no keys.
    """
    ((key, kind),) = keys.dtypes
    few = keys.select(f.col(key).cast("string")).limit(RANGES + 1).collect()
    ranges = [(row[0], row[0]) for row in few] if len(few) <= RANGES else _ranges(keys, key)
    return (
        " or ".join(
            f"{column} between cast({literal(first)} as {kind}) and cast({literal(last)} as {kind})"
            for first, last in ranges
        )
        or "false"
    )


def _ranges(keys: DataFrame, key: str) -> list[tuple[str, str]]:
    """Returns the ends of ranges that hold about as many keys each, as texts."""
    ends = (
        keys.repartitionByRange(RANGES, key)
        .groupBy(f.spark_partition_id().alias("_part"))
        .agg(f.min(key).cast("string"), f.max(key).cast("string"))
        .collect()
    )
    return [(first, last) for _, first, last in sorted(ends)]
