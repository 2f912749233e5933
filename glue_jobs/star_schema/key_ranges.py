"""A condition on keys that storage can use: few ranges, which file and row group metrics answer.

A semi-join finds the rows of some keys by reading all rows. Where rows are sorted by their key, the
ranges that the keys lie in let Iceberg leave out the files, and Parquet the row groups, that hold
none of them (Iceberg documentation, "Performance: Metadata filtering").
"""

from typing import Any, Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as f

RANGES: Final = 32
"""How many ranges a condition has at most: so many keys, if there are no more, are exact."""


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
    ranges = (
        keys.repartitionByRange(RANGES, key)
        .groupBy(f.spark_partition_id().alias("_part"))
        .agg(
            f.min(key).cast("string").alias("first"),
            f.max(key).cast("string").alias("last"),
        )
        .collect()
    )
    return (
        " or ".join(
            f"{column} between {_literal(r['first'], kind)} and {_literal(r['last'], kind)}"
            for r in sorted(ranges, key=lambda r: int(r["_part"]))
        )
        or "false"
    )


def _literal(value: Any, kind: str) -> str:
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"cast('{text}' as {kind})"
