"""Rules that rows have to keep: <table>.toml beside the SQL has them, as conditions in Spark SQL.

A source table's rules are about the rows that runs captured of it, a star table's about the rows
that its SELECT gives. A condition that is null counts as broken.
"""

from dataclasses import dataclass
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as f

from glue_jobs.star_schema.spark_sql import quoted
from pipeline.declarations import declared
from pipeline.errors import QualityRuleBroken

SHOWN_KEYS: Final = 5
"""How many keys a message names of rows that break a rule."""


@dataclass(frozen=True)
class Rules:
    """The rules of a table: what each demands, and its condition.

    Attributes:
        quarantining: Rows that break one of these wait in the quarantine, and the others arrive.
        stopping: One row that breaks one of these stops its star table before it commits.
    """

    quarantining: dict[str, str]
    stopping: dict[str, str]

    @property
    def every(self) -> dict[str, str]:
        """All of them."""
        return self.stopping | self.quarantining


def rules_of(table: str) -> Rules:
    """Returns the rules of a source or star table."""
    return Rules(declared(table, "rules"), declared(table, "stopping_rules"))


def keeps_all(rules: dict[str, str]) -> Column:
    """Returns whether a row keeps every rule."""
    kept = f.lit(True)
    for condition in rules.values():
        kept = kept & ~_breaks(condition)
    return kept


def broken_rows(rows: DataFrame, rules: dict[str, str]) -> DataFrame:
    """Returns the rows that break a rule, with a flag for each rule: its place, from `_broken_0`.

    A rule may look at other rows by a window function.
    """
    flags = [
        _breaks(condition).alias(flag)
        for flag, condition in zip(_flags(rules), rules.values(), strict=True)
    ]
    return rows.select("*", *flags).where(" or ".join(_flags(rules)))


def broken_by_rule(broken: DataFrame, rules: dict[str, str]) -> dict[str, int]:
    """Returns how many of the `broken_rows` break each rule that any row breaks."""
    counts = broken.agg(*(f.count_if(flag) for flag in _flags(rules))).first()
    return (
        {demand: rows for demand, rows in zip(rules, counts, strict=True) if rows} if counts else {}
    )


def stop_if_broken(
    broken: DataFrame, rules: Rules, by_rule: dict[str, int], *, table: str, key: str
) -> None:
    """Stops at the first of the stopping rules that a row breaks.

    Args:
        broken: What `broken_rows` returned for every rule.
        rules: The rules.
        by_rule: What `broken_by_rule` returned for every rule.
        table: Whose rules they are.
        key: The name of the column that tells its rows apart.

    Raises:
        QualityRuleBroken: A row breaks one; the message says which, how many, and some keys.
    """
    demand = next((demand for demand in by_rule if demand in rules.stopping), None)
    if demand is None:
        return
    flag = dict(zip(rules.every, _flags(rules.every), strict=True))[demand]
    found = broken.where(flag).select(f.col(quoted(key)).cast("string")).distinct()
    keys = sorted(str(row[0]) for row in found.limit(SHOWN_KEYS).collect())
    raise QualityRuleBroken(
        f"{by_rule[demand]} rows of {table} break the rule '{demand}', among them {key} "
        f"{', '.join(keys)}: correct them, or say in {table}.toml that the rule does not stop"
    )


def as_quarantined(broken: DataFrame, rules: dict[str, str], *, star: str, key: str) -> DataFrame:
    """Returns `broken_rows` as the lake's quarantine holds them.

    Returns:
        star_table, natural_key, reason, source_row (JSON), _sequence.
    """
    reasons = f.concat_ws(
        "; ",
        *(
            f.when(f.col(flag), f.lit(f"not kept: {demand}"))
            for demand, flag in zip(rules, _flags(rules), strict=True)
        ),
    )
    source = [
        f.col(quoted(name)) for name in broken.columns if name not in ("_sequence", *_flags(rules))
    ]
    return broken.select(
        f.lit(star).alias("star_table"),
        f.col(quoted(key)).cast("string").alias("natural_key"),
        reasons.alias("reason"),
        f.to_json(f.struct(*source), {"ignoreNullFields": "false"}).alias("source_row"),
        "_sequence",
    )


def _flags(rules: dict[str, str]) -> list[str]:
    return [f"_broken_{place}" for place in range(len(rules))]


def _breaks(condition: str) -> Column:
    return ~f.coalesce(f.expr(condition), f.lit(False))
