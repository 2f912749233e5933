"""Rules that a source row has to keep, declared beside the SQL in <table>.toml."""

import tomllib
from importlib import resources

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as f


def rules_of(star: str) -> dict[str, str]:
    """Returns the rules of a star table: what each demands, and its condition in Spark SQL."""
    file = resources.files("glue_jobs.star_schema.sql") / f"{star}.toml"
    if not file.is_file():
        return {}
    rules: dict[str, str] = tomllib.loads(file.read_text())["rules"]
    return rules


def keeps_all(rules: dict[str, str]) -> Column:
    """Returns whether a row keeps every rule; a condition that is null is broken."""
    kept = f.lit(True)
    for condition in rules.values():
        kept = kept & f.coalesce(f.expr(condition), f.lit(False))
    return kept


def broken_rows(rows: DataFrame, rules: dict[str, str], star: str, key: str) -> DataFrame:
    """Returns the rows that break a rule, as the lake's quarantine holds them.

    Returns:
        star_table, natural_key, reason, source_row (JSON), _sequence.
    """
    reasons = f.concat_ws(
        "; ",
        *(
            f.when(~f.coalesce(f.expr(condition), f.lit(False)), f.lit(f"not kept: {demand}"))
            for demand, condition in rules.items()
        ),
    )
    source = [name for name in rows.columns if name != "_sequence"]
    return rows.where(~keeps_all(rules)).select(
        f.lit(star).alias("star_table"),
        f.col(key).cast("string").alias("natural_key"),
        reasons.alias("reason"),
        f.to_json(f.struct(*source), {"ignoreNullFields": "false"}).alias("source_row"),
        "_sequence",
    )
