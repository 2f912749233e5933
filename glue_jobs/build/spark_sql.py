"""Names, texts and rows that a statement has in itself, as Spark SQL reads them."""

import json
from collections.abc import Iterable
from typing import Any, Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

_ASKED_FOR: Final = ("org.apache.spark.api.python.PythonUtils", "org.apache.spark.sql.functions")


def plan_for(spark: SparkSession, *, few_rows: bool) -> None:
    """Has a session plan for a few rows, or for many.

    To generate and compile code, and to plan again after each stage, takes longer than a few rows.
    """
    spark.conf.set("spark.sql.codegen.wholeStage", str(not few_rows).lower())
    spark.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN" if few_rows else "FALLBACK")
    spark.conf.set("spark.sql.adaptive.enabled", str(not few_rows).lower())


class _KeptClass:
    """A class of Java's whose members are asked for once: py4j asks before each call."""

    def __init__(self, java_class: Any) -> None:
        self._java_class = java_class

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._java_class, name)
        setattr(self, name, member)
        return member


def java_class(spark: SparkSession, name: str) -> Any:
    """Returns a class of Java's by its full name, which is one look-up in the jars at most.

    By its packages' names it is one for each of them, and PySpark's imports are searched too. The
    class is kept for the next caller, with those of its members that were used.
    """
    java = spark._jvm
    if name not in vars(java):
        setattr(java, name, _KeptClass(getattr(java, name)))
    return getattr(java, name)


def keep_classes(spark: SparkSession) -> None:
    """Has PySpark hold the classes that it asks Java for, by either name, at most calls."""
    for name in _ASKED_FOR:
        setattr(spark._jvm, name.rpartition(".")[2], java_class(spark, name))


def texts_of(spark: SparkSession, texts: Any) -> dict[str, str]:
    """Returns a map of Java's, of texts, by one call.

    py4j asks for entry by entry until Java throws an exception, of which PySpark then asks what
    kind it is: some forty calls, most of which search the jars.
    """
    mapper = java_class(spark, "org.apache.iceberg.util.JsonUtil").mapper()
    found: dict[str, str] = json.loads(mapper.writeValueAsString(texts))
    return found


def quoted(name: str) -> str:
    """Returns a column's name, whatever characters it has."""
    return f"`{name.replace('`', '``')}`"


def literal(text: str) -> str:
    """Returns a text, whatever characters it has."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def constant_rows(spark: SparkSession, rows: Iterable[dict[str, Any]], schema: str) -> DataFrame:
    """Returns a few rows as a literal: rows of Python's would each time need a Python worker.

    Args:
        spark: The session.
        rows: The rows, of what JSON can hold.
        schema: Their columns, as DDL has them.
    """
    literal_rows = f.from_json(f.lit(json.dumps(list(rows))), f"array<struct<{schema}>>")
    return spark.range(1).select(f.inline(literal_rows))
