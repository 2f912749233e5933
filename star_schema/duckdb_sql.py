"""Spark SQL as DuckDB SQL: the SELECTs and the rules, transpiled from the text that Spark runs.

Databricks SQL is sqlglot's name for Spark SQL in ANSI mode, which the jobs run in.
"""

from functools import cache

import sqlglot
from sqlglot import exp

_NARROW = 18
"""The digits of a decimal that DuckDB keeps in 64 bits."""


@cache
def in_duckdb(text: str) -> str:
    """Returns a SELECT or a condition of Spark SQL as DuckDB's SQL.

    A `sequence` without a step is taken for one of days, which is what the SQL files use it for.

    Args:
        text: Spark SQL, as the files in star_schema/definitions have it.

    Raises:
        sqlglot.errors.SqlglotError: The text cannot be parsed, or has no equivalent.
    """
    parsed = sqlglot.parse_one(text, read="databricks").transform(_own_functions)
    for cast in list(parsed.find_all(exp.Cast)):
        cast.replace(_quick_cast(cast))
    return parsed.sql("duckdb", comments=False, unsupported_level=sqlglot.ErrorLevel.RAISE)


def _quick_cast(cast: exp.Cast) -> exp.Expr:
    """Casts a text to a wide decimal through a narrow one of the same scale, if it fits.

    DuckDB reads a decimal of more than 18 digits from text a hundred times as slowly.
    """
    if type(cast) is not exp.Cast or not cast.to.is_type("decimal"):
        return cast
    digits = [int(digit.name) for digit in cast.to.expressions]
    if max(digits, default=0) <= _NARROW or digits[-1] > _NARROW:
        return cast
    narrow = exp.DataType.build(f"decimal({_NARROW}, {digits[-1]})")
    tried = exp.TryCast(this=cast.this.copy(), to=narrow)
    return exp.func("coalesce", exp.Cast(this=tried, to=cast.to.copy()), cast.copy())


def _own_functions(node: exp.Expr) -> exp.Expr:
    """Replaces functions that sqlglot passes on by name but that DuckDB defines differently."""
    if isinstance(node, exp.Anonymous) and node.name.lower() == "weekday":
        return exp.paren(exp.func("isodow", *node.expressions) - 1)
    if isinstance(node, exp.GenerateSeries) and not node.args.get("step"):
        day = exp.Interval(this=exp.Literal.string("1"), unit=exp.var("day"))
        days = exp.func("generate_series", node.args["start"], node.args["end"], day)
        return exp.cast(days, "date[]")
    return node
