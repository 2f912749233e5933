"""Finds the rows that break a rule, and either stops the build or sets them aside.

The rules of a source table apply to its captured rows, those of a star table to the rows of its
SELECT. A condition that is null counts as broken.
"""

from collections.abc import Sequence
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as f

from glue_jobs.star_schema.spark_sql import quoted
from pipeline.errors import QualityRuleBroken
from star_schema.rules import Rule, Rules

SHOWN_KEYS: Final = 5
"""How many keys a message names of rows that break a rule."""


def keeps_all(rules: Sequence[Rule]) -> Column:
    """Returns whether a row keeps every rule."""
    kept = f.lit(True)
    for rule in rules:
        kept = kept & ~_breaks(rule)
    return kept


def broken_rows(rows: DataFrame, rules: Sequence[Rule]) -> DataFrame:
    """Returns the rows that break a rule, with a flag for each rule: its place, from `_broken_0`.

    A rule may look at other rows by a window function.
    """
    flags = [_breaks(rule).alias(flag) for flag, rule in zip(_flags(rules), rules, strict=True)]
    return rows.select("*", *flags).where(" or ".join(_flags(rules)))


def broken_by_rule(broken: DataFrame, rules: Sequence[Rule]) -> dict[str, int]:
    """Returns how many of the `broken_rows` break each rule that any row breaks."""
    counts = broken.agg(*(f.count_if(flag) for flag in _flags(rules))).first()
    return (
        {rule.demand: rows for rule, rows in zip(rules, counts, strict=True) if rows}
        if counts
        else {}
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
    # `rules.every` has the stopping rules first, and so do the flags.
    stopping = zip(_flags(rules.stopping), rules.stopping, strict=True)
    found = [(flag, rule.demand) for flag, rule in stopping if rule.demand in by_rule]
    if not found:
        return
    flag, demand = found[0]
    texts = broken.where(flag).select(f.col(quoted(key)).cast("string")).distinct()
    keys = sorted(str(row[0]) for row in texts.limit(SHOWN_KEYS).collect())
    raise QualityRuleBroken(
        f"{by_rule[demand]} rows of {table} break the rule '{demand}', among them {key} "
        f"{', '.join(keys)}: correct them, or say in {table}.toml that the rule does not stop"
    )


def as_quarantined(broken: DataFrame, rules: Sequence[Rule], *, star: str, key: str) -> DataFrame:
    """Returns `broken_rows` as the lake's quarantine holds them.

    Returns:
        star_table, natural_key, reason, source_row (JSON), _sequence.
    """
    reasons = f.concat_ws(
        "; ",
        *(
            f.when(f.col(flag), f.lit(f"not kept: {rule.demand}"))
            for rule, flag in zip(rules, _flags(rules), strict=True)
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


def _flags(rules: Sequence[Rule]) -> list[str]:
    return [f"_broken_{place}" for place in range(len(rules))]


def _breaks(rule: Rule) -> Column:
    return ~f.coalesce(f.expr(rule.condition), f.lit(False))
