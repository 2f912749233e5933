"""Finds values of a SELECT that depend on the order of rows, which no build has.

A window function or an aggregate that picks rows by an order gives the same value in each build if
rows that the order leaves equal are equal in all that it sees. Whether they are follows from what
determines what: the natural key of a source and the run determine a row of the source, and an
equality in a join determines one side by the other.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from glue_jobs.build.plans import VIEW, attribute, equalities, items, kind, outputs, view_name

_SEQUENCE: Final = "_sequence"
_BY_ORDER: Final = frozenset(
    {
        "AnyValue",
        "ApproximatePercentile",
        "CollectList",
        "CollectSet",
        "First",
        "HistogramNumeric",
        "Last",
    }
)
"""Aggregate functions whose result depends on the order of rows."""
_SKETCHES: Final = ("ApproxTopK", "Hll", "Kll")
"""Beginnings of the names of sketches whose result does."""
_LAMBDA_VARIABLE: Final = re.compile(r"lambda (\w+)#\d+")
_BY_VALUE: Final = (
    "lambdafunction(if ((isnull(left) AND isnull(right))) 0 else if (isnull(left)) 1 "
    "else if (isnull(right)) -1 else if ((left < right)) -1 else if ((left > right)) 1 else 0, "
    "left, right, false)"
)
"""The comparator of array_sort that is given none. Others may find different values equal."""
_PICKED: Final = frozenset({"MaxBy", "MinBy"})
"""Aggregate functions that pick a row by the order of a value."""
_RANKS: Final = frozenset({"Rank", "DenseRank", "PercentRank", "CumeDist"})
"""Window functions that give rows that are equal in their order equal values."""
_FLOATS: Final = frozenset({"float", "double"})
_SUMS: Final = frozenset({"Sum", "Average"})
_MOMENTS: Final = frozenset(
    {
        "Corr",
        "CovPopulation",
        "CovSample",
        "Kurtosis",
        "RegrIntercept",
        "RegrR2",
        "RegrSlope",
        "Skewness",
        "StddevPop",
        "StddevSamp",
        "VariancePop",
        "VarianceSamp",
        "regr_avgx",
        "regr_avgy",
        "regr_sxx",
        "regr_sxy",
        "regr_syy",
    }
)
"""Aggregate functions that compute in floating point, whatever they are given."""
_LISTS: Final = frozenset({"CreateNamedStruct", "CreateArray"})
"""Expressions whose value shows those of their parts."""
_KEPT: Final = frozenset({"Distinct", "Generate", "LateralJoin", "Sort", "SubqueryAlias"})
"""Nodes whose rows have what the rows of their first child have."""

Determined = tuple[frozenset[Any], frozenset[Any]]
"""Attributes, and others of which they determine the values."""


class RowOrder:
    """Tells which values of a SELECT depend on the order of rows.

    Args:
        keys: The column that identifies a row of each view, in each run.
        nodes: The nodes of the SELECT.
    """

    def __init__(self, keys: Mapping[str, str], nodes: Iterable[Any]) -> None:
        self._keys = keys
        self._nodes = tuple(nodes)
        self._ctes = {node.id(): node for node in self._nodes if kind(node) == "CTERelationDef"}

    def aggregates(self) -> Iterator[str]:
        """Yields the names of aggregate functions whose values depend on the order of rows."""
        for node in self._nodes:
            if kind(node) == "Aggregate":
                grouped = frozenset[Any]().union(*map(_values, items(node.groupingExpressions())))
                for expression in items(node.aggregateExpressions()):
                    yield from self._aggregates_in(expression, node.child(), grouped)

    def windows(self) -> Iterator[str]:
        """Yields the names of window functions likewise."""
        for node in self._nodes:
            if kind(node) == "Window":
                for alias in items(node.windowExpressions()):
                    yield from self._window(alias.child(), node)

    def _aggregates_in(self, expression: Any, rows: Any, given: frozenset[Any]) -> Iterator[str]:
        if _is_sorted(expression):
            return
        if self._is_by_order(expression, rows, given):
            yield str(expression.prettyName())
        for child in items(expression.children()):
            yield from self._aggregates_in(child, rows, given)

    def _is_by_order(self, function: Any, rows: Any, given: frozenset[Any]) -> bool:
        """Whether an aggregate of rows that are equal in some attributes depends on their order."""
        found = kind(function)
        if found == "Mode":
            return bool(function.reverseOpt().isEmpty())
        if found in _PICKED:
            orders = (function.orderingExpr(),)
            return not self._are_one(function.valueExpr(), orders, rows, given)
        if found == "ListAgg":
            orders = tuple(order.child() for order in items(function.orderExpressions()))
            return not self._are_one(function.child(), orders, rows, given)
        return found in _BY_ORDER or found.startswith(_SKETCHES) or _is_rounded(function)

    def _are_one(
        self, value: Any, orders: tuple[Any, ...], rows: Any, given: frozenset[Any]
    ) -> bool:
        """Whether rows that are equal in their order have one value."""
        if any(order.semanticEquals(value) for order in orders):
            return True
        known = self._closure(rows, given.union(*map(_values, orders)))
        return bool(orders) and _references(value) <= known

    def _window(self, expression: Any, node: Any) -> Iterator[str]:
        function, rows = expression.windowFunction(), node.child()
        if kind(function) in _RANKS:
            return
        parts = frozenset[Any]().union(*map(_values, items(node.partitionSpec())))
        if kind(function) == "AggregateExpression":
            function = function.aggregateFunction()
            frame = expression.windowSpec().frameSpecification()
            is_part = frame.frameType().sql() == "ROWS" and not frame.isUnbounded()
            if not is_part and not self._is_by_order(function, rows, parts):
                return
        orders = (order.child() for order in items(node.orderSpec()))
        known = self._closure(rows, parts.union(*map(_values, orders)))
        if _is_rounded(function) or not known.issuperset(outputs(rows)):
            yield str(function.prettyName())

    def _closure(self, rows: Any, given: frozenset[Any]) -> frozenset[Any]:
        """Returns all attributes of rows that some of them determine."""
        known, rules = given, list(self._rules(rows))
        while more := frozenset[Any]().union(*(to for of, to in rules if of <= known)) - known:
            known |= more
        return known

    def _rules(self, node: Any) -> Iterator[Determined]:
        """Yields which attributes of rows determine which, as far as the plan says so."""
        found = kind(node)
        if found == VIEW:
            yield from self._of_view(node)
        elif found == "CTERelationRef":
            yield from self._of_reference(node)
        elif found in _KEPT:
            yield from self._rules(node.children().apply(0))
        elif found in ("Filter", "Project", "Aggregate", "Window", "Join"):
            for child in items(node.children()):
                yield from self._rules(child)
            yield from getattr(self, f"_of_{found.lower()}")(node)

    def _of_view(self, view: Any) -> Iterator[Determined]:
        held = {str(one.name()): int(one.exprId().id()) for one in items(view.output())}
        key = self._keys.get(view_name(view))
        if key in held:
            run = {held[_SEQUENCE]} if _SEQUENCE in held else set()
            yield frozenset({held[key], *run}), frozenset(held.values())

    def _of_reference(self, reference: Any) -> Iterator[Determined]:
        """Yields the rules of a common table expression, of which each reference is another."""
        definition, given = self._ctes[reference.cteId()], outputs(reference)
        names = dict(zip(outputs(definition.child()), given, strict=True))
        inner = str(given)
        for parts in self._rules(definition.child()):
            of, to = (frozenset(names.get(one, (inner, one)) for one in part) for part in parts)
            yield of, to

    @staticmethod
    def _of_filter(node: Any) -> Iterator[Determined]:
        yield from _of_equalities(node.condition())

    @staticmethod
    def _of_join(join: Any) -> Iterator[Determined]:
        condition, how = join.condition(), join.joinType().sql()
        if condition.isEmpty():
            return
        if how in ("INNER", "CROSS"):
            yield from _of_equalities(condition.get())
        sides = {
            "LEFT OUTER": (join.left(), join.right()),
            "RIGHT OUTER": (join.right(), join.left()),
        }
        if how in sides:
            # Whether a row is matched follows from all that the condition has of the kept side.
            kept, other = (frozenset(outputs(side)) for side in sides[how])
            named = {attribute(one) for pair in equalities(condition.get()) for one in pair}
            yield kept & _references(condition.get()), other & named

    @staticmethod
    def _of_project(node: Any) -> Iterator[Determined]:
        for alias in items(node.projectList()):
            if kind(alias) == "Alias":
                yield _references(alias.child()), frozenset({int(alias.exprId().id())})
        yield from _of_names(node.projectList())

    @staticmethod
    def _of_aggregate(node: Any) -> Iterator[Determined]:
        yield from _of_names(node.aggregateExpressions())
        grouped = frozenset(map(attribute, items(node.groupingExpressions())))
        if None not in grouped:
            yield grouped, frozenset(outputs(node))

    @staticmethod
    def _of_window(node: Any) -> Iterator[Determined]:
        yield frozenset(outputs(node.child())), frozenset(outputs(node))


def _of_names(expressions: Any) -> Iterator[Determined]:
    """Yields that an attribute and another name of it determine each other."""
    for alias in items(expressions):
        origin = attribute(alias.child()) if kind(alias) == "Alias" else None
        if origin is not None:
            names = frozenset({origin}), frozenset({int(alias.exprId().id())})
            yield names
            yield names[::-1]


def _of_equalities(condition: Any) -> Iterator[Determined]:
    for pair in equalities(condition):
        for one, other in (pair, pair[::-1]):
            if attribute(other) is not None:
                yield _references(one), frozenset({attribute(other)})


def _references(expression: Any) -> frozenset[int]:
    """Returns the ids of the attributes that an expression reads."""
    return frozenset(int(one.exprId().id()) for one in items(expression.references().toSeq()))


def _values(expression: Any) -> frozenset[int]:
    """Returns the ids of the attributes that the value of an expression shows."""
    if kind(expression) in _LISTS:
        return frozenset[int]().union(*map(_values, items(expression.children())))
    shown = attribute(expression)
    return frozenset() if shown is None else frozenset({shown})


def _is_sorted(expression: Any) -> bool:
    """Whether an expression gives an array of rows an order that leaves no values equal."""
    if kind(expression) != "array_sort":
        return kind(expression) == "SortArray"
    return _LAMBDA_VARIABLE.sub(r"\1", expression.function().toString()) == _BY_VALUE


def _is_rounded(function: Any) -> bool:
    """Whether an aggregate function computes in floating point, which rounds row by row."""
    found = kind(function)
    if found in _SUMS:
        return function.child().dataType().typeName() in _FLOATS
    return found in _MOMENTS
