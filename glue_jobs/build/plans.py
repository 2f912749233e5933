"""Spark's logical plans, as checks of SELECTs and rules, and readers of tables, read them.

Source: `org.apache.spark.sql.catalyst.plans.logical`.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from pyspark.sql import DataFrame

from glue_jobs.build.spark_sql import java_class
from star_schema.sql_text import without_comments, without_literals

VIEW: Final = "View"
_ATTRIBUTE: Final = "AttributeReference"
_EQUALITIES: Final = frozenset({"EqualTo", "EqualNullSafe"})
_TREES: Final = "org.apache.spark.sql.catalyst.trees.TreePattern"
_FUNCTIONS_OF_THE_MOMENT: Final = re.compile(
    r"\b(?:iceberg_)?version`?\s*\(|\baes_encrypt`?\s*\(", re.I
)
"""Functions that Spark takes for deterministic: of its version, or with a random start value."""
_LITERALS_OF_THE_MOMENT: Final = re.compile(
    r"\b(?:date|timestamp|timestamp_ntz|timestamp_ltz)\s*r?['\"]\s*"
    r"(?:now|today|tomorrow|yesterday)\b",
    re.I,
)
"""Literals of which Spark's parser makes the day or the time when it reads them."""


_OF_THE_MOMENT: Final = re.compile(r"\s*(?:now|today|tomorrow|yesterday)\b", re.I)
_EPOCH: Final = re.compile(r"\s*epoch\b", re.I)
"""Beginnings of texts that Spark casts to a date or a timestamp by their meaning."""


class Moment:
    """Tells whether a statement, a plan or an expression depends on when and where it is evaluated.

    Args:
        rows: Rows of the session.
    """

    def __init__(self, rows: DataFrame) -> None:
        spark, optimizer = rows.sparkSession, "org.apache.spark.sql.catalyst.optimizer"
        self._spark = spark
        self._current = java_class(spark, _TREES).CURRENT_LIKE()
        self._replace = java_class(spark, f"{optimizer}.ReplaceExpressions")
        self._special = java_class(spark, f"{optimizer}.SpecialDatetimeValues")

    def __call__(self, tree: Any) -> bool:
        """Whether the value of `tree` may differ from one read to the next."""
        return not tree.deterministic() or bool(tree.containsPattern(self._current))

    def casts_special_text(self, plan: Any) -> bool:
        """Whether a plan, without its subqueries, casts a text such as 'now' to what it means.

        The text 'epoch' always means the same.
        """
        replaced = self._replace.apply(plan)
        if self._special.apply(replaced).fastEquals(replaced):
            return False
        casts = java_class(self._spark, _TREES).CAST()
        texts = [
            text
            for node in own_nodes(replaced)
            for expression in items(node.expressions())
            for text in _cast_texts(expression, casts)
        ]
        return any(map(_OF_THE_MOMENT.match, texts)) or not any(map(_EPOCH.match, texts))

    @staticmethod
    def is_named_in(text: str) -> bool:
        """Whether a statement has what no plan tells: a literal, or a function, of the moment."""
        literal = _LITERALS_OF_THE_MOMENT.search(without_comments(text))
        return bool(literal or _FUNCTIONS_OF_THE_MOMENT.search(without_literals(text)))


def _cast_texts(expression: Any, casts: Any) -> Iterator[str]:
    """Yields the constants that an expression casts, as text: 'now' for one that casts itself."""
    if kind(expression) == "Cast" and expression.child().foldable():
        is_text = not expression.child().containsPattern(casts)
        yield str(expression.child().eval(None)) if is_text else "now"
    for child in items(expression.children()):
        yield from _cast_texts(child, casts)


def plan_of(rows: DataFrame) -> Any:
    """Returns the analyzed plan of rows."""
    return rows._jdf.queryExecution().analyzed()


def planned_rows(rows: DataFrame) -> int:
    """Returns how many rows Iceberg is to read of a table: those that metrics cannot leave out.

    Args:
        rows: Rows of one table, by conditions alone.
    """
    table = rows._jdf.queryExecution().optimizedPlan().collectLeaves().apply(0)
    planned = table.stats().rowCount()
    return int(planned.get()) if planned.isDefined() else 0


def own_nodes(plan: Any) -> Iterator[Any]:
    """Yields the nodes of a SELECT and its subqueries, and not those of the views that it reads."""
    yield plan
    if kind(plan) != VIEW:
        for part in (plan.children(), plan.subqueries()):
            for child in items(part):
                yield from own_nodes(child)


def view_name(view: Any) -> str:
    """Returns the name of a view that a SELECT reads."""
    return str(view.desc().identifier().table())


def is_temporary(view: Any) -> bool:
    """Whether a view is of the session, and in no database."""
    return bool(view.desc().identifier().database().isEmpty())


def items(sequence: Any) -> Iterator[Any]:
    """Yields the elements of a sequence of Scala's."""
    return (sequence.apply(place) for place in range(sequence.size()))


def kind(node: Any) -> str:
    """Returns the name of the class of a node or an expression."""
    return str(node.nodeName())


def attribute(expression: Any) -> int | None:
    """Returns the id of the attribute that an expression refers to; None if it computes one."""
    return int(expression.exprId().id()) if kind(expression) == _ATTRIBUTE else None


def outputs(node: Any) -> list[int]:
    """Returns the ids of the attributes that a node gives, in order."""
    return [int(one.exprId().id()) for one in items(node.output())]


def equalities(condition: Any) -> Iterator[tuple[Any, Any]]:
    """Yields both sides of each equality that a condition demands."""
    found = kind(condition)
    if found == "And":
        yield from equalities(condition.left())
        yield from equalities(condition.right())
    elif found in _EQUALITIES:
        yield condition.left(), condition.right()
