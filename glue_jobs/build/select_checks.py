"""Checks that a SELECT gives the same rows whenever it is read, and however many runs are at once.

A table is a pure function of the raw zone only if its SELECT is one. Where no sources are joined, a
build reads the rows that runs captured, not the whole source: a SELECT may look at one row at a
time. Source: Spark's logical plans, `org.apache.spark.sql.catalyst.plans.logical`.
"""

from collections.abc import Iterator
from typing import Any, Final

from pyspark.sql import DataFrame

from glue_jobs.build.spark_sql import java_class
from pipeline.errors import DeclarationInvalid
from star_schema.tables import StarTable

_VIEW: Final = "View"
_ARBITRARY: Final = {
    "GlobalLimit": "a limit",
    "LocalLimit": "a limit",
    "Offset": "an offset",
    "Sample": "a sample",
}
"""Nodes that choose rows by an order that is not the data's."""
_OF_MANY_ROWS: Final = {
    "Aggregate": "an aggregate function",
    "Window": "a window function",
    "Generate": "a function that makes several rows of one",
}


def check_select(rows: DataFrame, star: StarTable) -> None:
    """Checks the plan of a star table's SELECT, down to the views of its sources.

    Raises:
        DeclarationInvalid: The SELECT depends on more than the rows that it may depend on.
    """
    plan = rows._jdf.queryExecution().analyzed()
    is_of_moment = _Moment(rows)
    nodes = tuple(_own_nodes(plan))
    kinds = [_kind(node) for node in nodes]
    # Of most plans, the views of the sources included, one look tells that nothing is.
    if is_of_moment(plan) and any(
        is_of_moment(expression) for node in nodes for expression in _items(node.expressions())
    ):
        raise _invalid(
            star,
            "a function whose result differs from one read to the next, such as rand or "
            "current_timestamp",
            "a rebuild has to give the same rows: take the value from a column of the source",
        )
    for kind in filter(_ARBITRARY.get, kinds):
        raise _invalid(star, _ARBITRARY[kind], "which rows it keeps is chance: select all rows")
    if star.row_source is None or star.joined_sources:
        return
    for kind in filter(_OF_MANY_ROWS.get, kinds):
        raise _invalid(
            star,
            _OF_MANY_ROWS[kind],
            f"a build reads the changed rows of {star.row_source} alone, and each gives one row: "
            "compute this in a view of the warehouse",
        )
    if sum(_reads_source(node, star) for node in nodes if _kind(node) == _VIEW) > 1:
        raise _invalid(
            star,
            "more than one reference to its sources",
            "a build reads their changed rows alone: list them in joined_sources of "
            f"{star.name}.toml, and join their _sequence as well",
        )


class _Moment:
    """Tells whether a plan or an expression depends on when it is evaluated."""

    def __init__(self, rows: DataFrame) -> None:
        trees = "org.apache.spark.sql.catalyst.trees.TreePattern"
        self._current = java_class(rows.sparkSession, trees).CURRENT_LIKE()

    def __call__(self, tree: Any) -> bool:
        return not tree.deterministic() or bool(tree.containsPattern(self._current))


def _own_nodes(plan: Any) -> Iterator[Any]:
    """Yields the nodes of a SELECT and its subqueries, and not those of the views that it reads."""
    yield plan
    if _kind(plan) != _VIEW:
        for part in (plan.children(), plan.subqueries()):
            for child in _items(part):
                yield from _own_nodes(child)


def _reads_source(view: Any, star: StarTable) -> bool:
    return view.desc().identifier().table() in star.sources


def _items(sequence: Any) -> Iterator[Any]:
    return (sequence.apply(place) for place in range(sequence.size()))


def _kind(node: Any) -> str:
    return str(node.nodeName())


def _invalid(star: StarTable, found: str, advice: str) -> DeclarationInvalid:
    return DeclarationInvalid(
        f"star_schema/definitions/tables/{star.name}.sql has {found}: {advice}"
    )
