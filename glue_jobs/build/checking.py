"""Finds the rows that break a rule, and either stops the build or sends them to the quarantine.

The rules of a source table apply to its captured rows, those of a star table to the rows of its
SELECT. A condition that is null counts as broken.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as f

from glue_jobs.build.spark_sql import quoted
from pipeline.errors import QualityRuleBroken
from pipeline.manifest import TableCapture
from star_schema.rules import Rule, Rules

_FIT: Final = "_fit"
SHOWN_KEYS: Final = 5
"""How many keys of rows that break a rule a message names."""


@dataclass(frozen=True)
class Broken:
    """Rows that break rules.

    Attributes:
        rows: The rows, with a flag for each rule.
        by_rule: How many rows break each rule that any row breaks, by the rule's demand.
    """

    rows: DataFrame
    by_rule: dict[str, int]


def identity_rules(key: str, captures: Iterable[TableCapture]) -> Rules:
    """Returns the rules that a natural key must satisfy where the source does not enforce them.

    Args:
        key: The natural key.
        captures: The captures of its table. The source enforces the rules if its primary key is
            the natural key and nothing else.
    """
    if all(capture.primary_key == (key,) for capture in captures):
        return Rules()
    name = quoted(key)
    return Rules(
        stopping=(
            Rule(f"{key} is given", f"{name} is not null"),
            Rule(f"{key} is unique", f"count(*) over (partition by {name}, _sequence) = 1"),
        )
    )


def fit(rows: DataFrame, rules: Iterable[Rule]) -> DataFrame:
    """Returns the rows that satisfy every rule. A condition may be a window function."""
    kept = f.lit(True)
    for rule in rules:
        kept = kept & ~_breaks(rule)
    return rows.withColumn(_FIT, kept).where(_FIT).drop(_FIT)


def checked(rows: DataFrame, rules: Rules, *, table: str, key: str) -> Broken:
    """Returns the rows that break a rule.

    A condition may be a window function over other rows.

    Args:
        rows: The rows, with `_sequence`.
        rules: The rules.
        table: The table whose rules they are.
        key: The column that identifies the table's rows.

    Raises:
        QualityRuleBroken: A row breaks a stopping rule; the message names the rule, how many rows
            break it, and some keys.
    """
    if not rules.every:
        return Broken(rows.limit(0), {})
    flags = [_breaks(rule).alias(_flag(place)) for place, rule in enumerate(rules.every)]
    broken = rows.select("*", *flags).where(" or ".join(map(_flag, range(len(flags)))))
    by_rule = _counted(broken, rules.every)
    for place, rule in enumerate(rules.every):
        if rule in rules.stopping and rule.demand in by_rule:
            keys = _some_keys(broken.where(_flag(place)), key)
            raise QualityRuleBroken(
                f"{by_rule[rule.demand]} rows of {table} break the rule '{rule.demand}', among "
                f"them {key} {', '.join(keys)}: correct the rows, or change the rule in "
                f"{table}.toml"
            )
    return Broken(broken, by_rule)


def _counted(broken: DataFrame, rules: Sequence[Rule]) -> dict[str, int]:
    counts = broken.agg(*(f.count_if(_flag(place)) for place in range(len(rules)))).first()
    if counts is None:
        return {}
    return {rule.demand: rows for rule, rows in zip(rules, counts, strict=True) if rows}


def _some_keys(rows: DataFrame, key: str) -> list[str]:
    texts = rows.select(f.col(quoted(key)).cast("string")).distinct()
    return sorted(str(row[0]) for row in texts.limit(SHOWN_KEYS).collect())


def as_quarantined(broken: Broken, rules: Sequence[Rule], *, star: str, key: str) -> DataFrame:
    """Returns broken rows as the lake's quarantine holds them.

    Returns:
        star_table, natural_key, reason (null), broken_rules, source_row (JSON), _sequence.
    """
    demands = (f.when(f.col(_flag(place)), f.lit(rule.demand)) for place, rule in enumerate(rules))
    added = {"_sequence", *map(_flag, range(len(rules)))}
    source = [f.col(quoted(name)) for name in broken.rows.columns if name not in added]
    return broken.rows.select(
        f.lit(star).alias("star_table"),
        f.col(quoted(key)).cast("string").alias("natural_key"),
        f.lit(None).cast("string").alias("reason"),
        f.array_compact(f.array(*demands)).alias("broken_rules"),
        f.to_json(f.struct(*source), {"ignoreNullFields": "false"}).alias("source_row"),
        "_sequence",
    )


def _flag(place: int) -> str:
    """Returns the column that says whether a row breaks the rule at a place."""
    return f"_broken_{place}"


def _breaks(rule: Rule) -> Column:
    return ~f.coalesce(f.expr(rule.condition), f.lit(False))
