"""Rules that a source row has to keep to reach the star: <source>.toml beside the SQL has them."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as f

from glue_jobs.star_schema.declarations import declared
from glue_jobs.star_schema.spark_sql import quoted


def rules_of(source: str) -> dict[str, str]:
    """Returns the rules of a source table: what each demands, and its condition in Spark SQL."""
    return declared(source, "rules")


def keeps_all(rules: dict[str, str]) -> Column:
    """Returns whether a row keeps every rule; a condition that is null is broken."""
    kept = f.lit(True)
    for condition in rules.values():
        kept = kept & ~_breaks(condition)
    return kept


def broken_by_rule(rows: DataFrame, rules: dict[str, str]) -> dict[str, int]:
    """Returns how many rows break each rule that any row breaks."""
    counts = rows.agg(
        *(f.count_if(_breaks(condition)).alias(demand) for demand, condition in rules.items())
    ).first()
    return {demand: count for demand, count in counts.asDict().items() if count} if counts else {}


def broken_rows(rows: DataFrame, rules: dict[str, str], star: str, key: str) -> DataFrame:
    """Returns the rows that break a rule, as the lake's quarantine holds them.

    Returns:
        star_table, natural_key, reason, source_row (JSON), _sequence.
    """
    reasons = f.concat_ws(
        "; ",
        *(
            f.when(_breaks(condition), f.lit(f"not kept: {demand}"))
            for demand, condition in rules.items()
        ),
    )
    source = [f.col(quoted(name)) for name in rows.columns if name != "_sequence"]
    return rows.where(~keeps_all(rules)).select(
        f.lit(star).alias("star_table"),
        f.col(quoted(key)).cast("string").alias("natural_key"),
        reasons.alias("reason"),
        f.to_json(f.struct(*source), {"ignoreNullFields": "false"}).alias("source_row"),
        "_sequence",
    )


def _breaks(condition: str) -> Column:
    return ~f.coalesce(f.expr(condition), f.lit(False))
