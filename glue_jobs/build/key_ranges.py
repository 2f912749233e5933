"""Ranges of keys: what file and row group metrics can answer, and what rows are spread by.

A semi-join finds the rows of some keys by reading all rows. Where rows are sorted by their key, the
ranges that the keys lie in let Iceberg leave out the files, and Parquet the row groups, that hold
none of them (Iceberg documentation, "Performance: Metadata filtering"). Of the rows that are read,
a map of few keys leaves out most before a join looks for their keys.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as f

from glue_jobs.build.spark_sql import literal, quoted

RANGES: Final = 32
"""The maximum number of ranges of a condition."""
_NEAR_BITS: Final = 13
NEAR: Final = 1 << _NEAR_BITS
"""Numbers that are no further apart than this are of one range: no row group is as small."""

MOST_KEYS_LISTED = 50_000
"""A condition that names each key names no more than these."""
_WORD_BITS: Final = 6
_MOST_MAP_BITS: Final = 20
"""A map of keys has 2 ** 6 to 2 ** 7 bits for each key, at most 2 ** 20, in words of 2 ** 6."""

ROWS_OF_A_RANGE = 500_000
"""How many rows a range that is written as one file is to hold: two fit into a heap of 2 GB."""
MOST_RANGES: Final = 64
_BUCKET_BITS: Final = 12
"""Keys are counted in at most 2 ** 12 + 1 buckets."""
_MOST_OF_WANTED: Final = 4
"""A range of more than so many times the rows that are wanted has too many for one task."""

_NUMBERS: Final = frozenset({"tinyint", "smallint", "int", "bigint"})


@dataclass(frozen=True)
class KeyRanges:
    """Ranges of a numeric key that hold about as many rows each.

    Attributes:
        key: The key's column.
        ends: The greatest key of each range but the last, in order.
        counts: How many rows each range has.
    """

    key: str
    ends: tuple[int, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, rows: DataFrame, key: str) -> "KeyRanges | None":
        """Returns the ranges of some rows' keys; None if the key has none of about equal size.

        Only the keys are read. `repartitionByRange` would evaluate whole rows to sample them.
        """
        if dict(rows.dtypes)[key] not in _NUMBERS:
            return None
        bucket, bits = _bucket(rows, key)
        buckets = rows.groupBy(bucket).count().collect()
        ends, counts = _alike(sorted((row[0], row[1]) for row in buckets), bits)
        wanted = max(ROWS_OF_A_RANGE, sum(counts) // MOST_RANGES)
        return cls(key, ends, counts) if max(counts) <= _MOST_OF_WANTED * wanted else None

    @property
    def count(self) -> int:
        """The number of ranges."""
        return len(self.counts)

    def number(self) -> Column:
        """Returns the number of a key's range, from 0."""
        return _search(f.col(quoted(self.key)), self.ends, 0)


def _bucket(rows: DataFrame, key: str, least_bits: int = 0) -> tuple[Column, int]:
    """Returns the number of the bucket that a row's key is in: the key without some low bits.

    Args:
        rows: The rows, of which only the keys are read.
        key: The key's column, of a kind of integer.
        least_bits: The minimum number of bits.

    Returns:
        The bucket's number, of a null key that of the least key, and the number of bits.
    """
    number = f.col(quoted(key)).cast("bigint")
    span = rows.select(f.min(number), f.max(number)).first()
    least, most = (span[0] or 0, span[1] or 0) if span else (0, 0)
    bits = max((most - least).bit_length() - _BUCKET_BITS, least_bits)
    return f.coalesce(f.shiftright(number, bits), f.lit(least >> bits)), bits


def _alike(
    buckets: Sequence[tuple[int, int]], bits: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the ends and the counts of ranges of adjacent buckets.

    Args:
        buckets: Each bucket's number, the key without its low bits, and its rows, in order.
        bits: The number of low bits.
    """
    rows = sum(count for _, count in buckets)
    ranges = min(max(rows // ROWS_OF_A_RANGE, 2), MOST_RANGES)
    ends: dict[int, int] = {}
    counts: Counter[int] = Counter()
    for bucket, count in buckets:
        place = counts.total() * ranges // rows
        ends[place] = (bucket + 1 << bits) - 1
        counts[place] += count
    return tuple(ends.values())[:-1], tuple(counts.values()) or (0,)


def _search(key: Column, ends: tuple[int, ...], first: int) -> Column:
    """Returns `first` and the number of ends below a key, by a binary search."""
    if not ends:
        return f.lit(first)
    middle = len(ends) // 2
    above = _search(key, ends[middle + 1 :], first + middle + 1)
    return f.when(key > ends[middle], above).otherwise(_search(key, ends[:middle], first))


def near(keys: DataFrame, column: str) -> str:
    """Returns a condition, in Spark SQL, that a column holds for each of some keys.

    Args:
        keys: The keys, in their only column.
        column: The column as the condition is to name it.

    Returns:
        A condition that every one of the keys meets, and few others if there are at most
        `MOST_KEYS_LISTED` numbers; otherwise that of `within_ranges`.
    """
    ((key, kind),) = keys.dtypes
    if kind not in _NUMBERS:
        return within_ranges(keys, column)
    given = keys.where(f.col(quoted(key)).isNotNull()).limit(MOST_KEYS_LISTED + 1).collect()
    if not given:
        return "false"
    if len(given) > MOST_KEYS_LISTED:
        return within_ranges(keys, column)
    numbers = sorted(row[0] for row in given)
    ranges = _between(_apart([(number, number) for number in numbers]), column, kind)
    return f"({ranges}) and {_mapped(numbers, column)}"


def among(keys: DataFrame, column: str) -> str:
    """Returns a condition, in Spark SQL, that a column holds for each of some keys.

    Args:
        keys: The keys, in their only column: at most `MOST_KEYS_LISTED`, and at least one.
        column: The column as the condition is to name it.

    Returns:
        The condition of `near` for numbers; for others, one that no other key meets either.
    """
    ((key, kind),) = keys.dtypes
    ranges = near(keys, column)
    if kind in _NUMBERS:
        return ranges
    texts = (row[0] for row in keys.select(f.col(quoted(key)).cast("string")).collect())
    listed = ", ".join(f"cast({literal(text)} as {kind})" for text in texts)
    return f"({ranges}) and {column} in ({listed})"


def _mapped(numbers: Sequence[int], column: str) -> str:
    """Returns a condition that a column's high bits are those of one of some numbers.

    The map is an array of words. A number's low bits are left out as far as the span of the numbers
    needs more than a bit of the map each, and its highest bits are left out of the number of the
    bit: outside the span, another number may meet the condition.
    """
    bits = min(len(numbers).bit_length() + _WORD_BITS, _MOST_MAP_BITS)
    low = max((numbers[-1] - numbers[0]).bit_length() - bits, 0)
    words = [0] * (1 << bits - _WORD_BITS)
    for place in {number >> low & (1 << bits) - 1 for number in numbers}:
        words[place >> _WORD_BITS] |= 1 << (place & (1 << _WORD_BITS) - 1)
    signed = [word - (word >> 63 << 64) for word in words]
    word = f"shiftright(cast({column} as bigint), {low + _WORD_BITS}) & {len(words) - 1}"
    bit = f"shiftright(cast({column} as bigint), {low}) & {(1 << _WORD_BITS) - 1}"
    texts = literal(json.dumps(signed, separators=(",", ":")))
    return (
        f"getbit(from_json({texts}, 'array<bigint>')[cast({word} as int)], cast({bit} as int)) = 1"
    )


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
    find = _ranges_of_numbers if kind in _NUMBERS else _ranges
    return _between(find(keys, key), column, kind)


def _between(ranges: Sequence[tuple[object, object]], column: str, kind: str) -> str:
    """Returns a condition that a column lies in one of some ranges."""
    return (
        " or ".join(
            f"{column} between cast({literal(str(first))} as {kind}) "
            f"and cast({literal(str(last))} as {kind})"
            for first, last in ranges
        )
        or "false"
    )


def _ranges_of_numbers(keys: DataFrame, key: str) -> list[tuple[int, int]]:
    """Returns the ends of the ranges between the widest gaps of some numbers."""
    bucket, _ = _bucket(keys, key, _NEAR_BITS)
    found = keys.where(f.col(key).isNotNull()).groupBy(bucket).agg(f.min(key), f.max(key)).collect()
    return _apart(sorted((first, last) for _, first, last in found))


def _apart(parts: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the ends of the ranges between the widest gaps of some parts, which are in order."""
    gaps = ((after[0] - before[1], place) for place, (before, after) in enumerate(pairwise(parts)))
    widest = sorted((gap for gap in gaps if gap[0] > NEAR), reverse=True)[: RANGES - 1]
    starts = [0, *sorted(place + 1 for _, place in widest), len(parts)]
    return [(parts[start][0], parts[end - 1][1]) for start, end in pairwise(starts) if parts]


def _ranges(keys: DataFrame, key: str) -> list[tuple[str, str]]:
    """Returns the ends of ranges that hold about as many keys each, as texts.

    Where there are no more keys than ranges, each is a range.
    """
    few = keys.select(f.col(key).cast("string")).limit(RANGES + 1).collect()
    if len(few) <= RANGES:
        return [(row[0], row[0]) for row in few]
    ends = (
        keys.repartitionByRange(RANGES, key)
        .groupBy(f.spark_partition_id().alias("_part"))
        .agg(f.min(key).cast("string"), f.max(key).cast("string"))
        .collect()
    )
    return [(first, last) for _, first, last in sorted(ends)]
