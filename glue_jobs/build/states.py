"""Follows a SELECT's rows through its plan: each row has to be of one run, and of one source row.

The views of the sources have the rows of several runs. How many they have depends on how many runs
a build applies at once, so a row that is made of rows of two runs is another one in the next build.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from glue_jobs.build.plans import (
    VIEW,
    attribute,
    equalities,
    items,
    kind,
    outputs,
    view_name,
)
from pipeline.errors import DeclarationInvalid
from star_schema.sources import declared_source
from star_schema.tables import StarTable

_SEQUENCE: Final = "_sequence"
_PLANS: Final = frozenset({"Exists", "ScalarSubquery", "LateralSubquery"})
_KEEPS_LEFT: Final = frozenset({"LEFT OUTER", "LEFT SEMI", "LEFT ANTI"})
_NULLABLE: Final = {
    "LEFT OUTER": ("right",),
    "RIGHT OUTER": ("left",),
    "FULL OUTER": ("left", "right"),
}
"""The sides of which a join gives nulls where no row matches."""

Runs = frozenset[int] | None
"""The attributes that have a row's run; None if rows are of no run, or of that of an outer row."""


def invalid(star: StarTable, found: str, advice: str) -> DeclarationInvalid:
    """Returns the error of a SELECT that has what no build can repeat."""
    return DeclarationInvalid(
        f"star_schema/definitions/tables/{star.name}.sql has {found}: {advice}"
    )


class States:
    """The attributes of a star table's SELECT that have the run and the natural key of a row.

    Args:
        star: The star table, which has a row source.
        plan: The SELECT's plan.

    Raises:
        DeclarationInvalid: A row of the SELECT may be made of rows of several runs.
    """

    def __init__(self, star: StarTable, plan: Any) -> None:
        self._star = star
        self._key = declared_source(str(star.row_source)).natural_key
        self._keys: set[int] = set()
        self._nullable: set[int] = set()
        self._origins: dict[int, tuple[int, ...]] = {}
        self._ctes: dict[int, tuple[Runs, list[int]]] = {}
        self._outer: frozenset[int] = frozenset()
        self._by_kind: dict[str, Callable[[Any, list[Runs]], Runs]] = {
            "Aggregate": self._of_aggregate,
            "CTERelationDef": self._of_definition,
            "Except": self._of_positions,
            "Filter": self._of_filter,
            "Intersect": self._of_positions,
            "Join": self._of_join,
            "Project": lambda node, children: self._given(node.projectList(), children[0]),
            "Union": self._of_positions,
            "Window": self._of_window,
            "WithCTE": lambda _, children: children[-1],
        }
        self._runs = self._of(plan) or frozenset()

    def has_run(self, given: int) -> bool:
        """Whether an attribute that the SELECT gives is the run of its row."""
        return given in self._runs

    def is_key(self, given: int) -> bool:
        """Whether an attribute is the natural key of the row source, as the source has it."""
        origins = self._origins.get(given, ())
        if given in self._nullable or not (given in self._keys or origins):
            return False
        return all(map(self.is_key, origins))

    def _mixed(self, found: str, advice: str) -> DeclarationInvalid:
        return invalid(self._star, found, f"the rows of a run are one state: {advice}")

    def _of(self, node: Any) -> Runs:
        name = kind(node)
        if name in (VIEW, "CTERelationRef"):
            return self._of_view(node) if name == VIEW else self._of_reference(node)
        children = [self._of(child) for child in items(node.children())]
        given = frozenset[int]().union(*(runs or () for runs in children))
        if node.subqueries().size():
            self._check_subqueries(node, given)
        if all(runs is None for runs in children):
            return None
        return self._by_kind[name](node, children) if name in self._by_kind else given

    def _of_view(self, view: Any) -> Runs:
        name = view_name(view)
        if name not in self._star.sources:
            return None
        runs: set[int] = set()
        for one in items(view.output()):
            column = one.name()
            if column == _SEQUENCE:
                runs.add(one.exprId().id())
            elif column == self._key and name == self._star.row_source:
                self._keys.add(one.exprId().id())
        return frozenset(runs)

    def _of_reference(self, reference: Any) -> Runs:
        if reference.cteId() not in self._ctes:
            return None
        runs, defined = self._ctes[reference.cteId()]
        given = dict(zip(outputs(reference), defined, strict=True))
        self._origins |= {one: (origin,) for one, origin in given.items() if one != origin}
        return runs and frozenset(one for one, origin in given.items() if origin in runs)

    def _of_aggregate(self, node: Any, children: list[Runs]) -> Runs:
        (runs,) = children
        grouped = (runs or frozenset()) & _attributes(node.groupingExpressions())
        if not grouped:
            raise self._mixed("an aggregate of several runs", "group by _sequence as well")
        return self._given(node.aggregateExpressions(), grouped)

    def _of_window(self, node: Any, children: list[Runs]) -> Runs:
        (runs,) = children
        if not (runs or frozenset()) & _attributes(node.partitionSpec()):
            raise self._mixed("a window of several runs", "partition by _sequence as well")
        return runs

    def _of_filter(self, node: Any, children: list[Runs]) -> Runs:
        (runs,) = children
        return None if self._is_of_outer_row(node.condition(), runs or frozenset()) else runs

    def _of_definition(self, node: Any, children: list[Runs]) -> Runs:
        (runs,) = children
        self._ctes[node.id()] = runs, outputs(node)
        return runs

    def _of_join(self, join: Any, children: list[Runs]) -> Runs:
        left, right = children
        how = join.joinType().sql()
        for side in _NULLABLE.get(how, ()):
            self._nullable |= set(outputs(getattr(join, side)()))
        if left is None or right is None:
            return right if left is None else left
        condition = join.condition()
        if not (condition.isDefined() and _compares(condition.get(), left, right)):
            raise self._mixed("a join of several runs", "join the _sequence of both as well")
        if how in _KEEPS_LEFT:
            return left
        # Of a full outer join, either side may be null.
        return {"RIGHT OUTER": right, "FULL OUTER": frozenset[int]()}.get(how, left | right)

    def _of_positions(self, node: Any, children: list[Runs]) -> Runs:
        """Returns the runs of rows that several nodes give, column by column."""
        columns = list(zip(*map(outputs, items(node.children())), strict=True))
        runs: set[int] = set()
        for one, parts in zip(outputs(node), columns, strict=True):
            if all(part in (held or ()) for part, held in zip(parts, children, strict=True)):
                runs.add(one)
            others = tuple(part for part in parts if part != one)
            self._origins[one] = self._origins.get(one, ()) + others
        return frozenset(runs)

    def _given(self, expressions: Any, runs: Runs) -> frozenset[int]:
        """Returns the runs among what a node gives, and notes what it gives by another name."""
        given: set[int] = set()
        for one in items(expressions):
            origin = attribute(one.child() if kind(one) == "Alias" else one)
            if origin is None:
                continue
            held = int(one.exprId().id())
            if held != origin:
                self._origins[held] = (origin,)
            if origin in (runs or ()):
                given.add(held)
        return frozenset(given)

    def _check_subqueries(self, node: Any, given: frozenset[int]) -> None:
        for plan, values in _subqueries(node):
            outer, self._outer = self._outer, self._outer | given
            runs = self._of(plan)
            self._outer = outer
            pairs = zip(map(attribute, values), outputs(plan) if values else (), strict=False)
            if runs is None or any(a in given and b in runs for a, b in pairs):
                continue
            raise self._mixed(
                "a subquery of several runs",
                "compare its _sequence with that of the row outside as well",
            )

    def _is_of_outer_row(self, condition: Any, given: frozenset[int]) -> bool:
        """Whether a condition has only rows of the run of a row outside."""
        return bool(self._outer) and any(
            kind(one) == "OuterReference"
            and attribute(one.e()) in self._outer
            and attribute(other) in given
            for pair in equalities(condition)
            for one, other in (pair, pair[::-1])
        )


def _attributes(expressions: Any) -> set[int | None]:
    return set(map(attribute, items(expressions)))


def _compares(condition: Any, left: frozenset[int], right: frozenset[int]) -> bool:
    pairs = [frozenset(map(attribute, pair)) for pair in equalities(condition)]
    return any(pair & left and pair & right for pair in pairs)


def _subqueries(node: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Yields the subqueries of a node's expressions, with the values looked for in each."""
    waiting = list(items(node.expressions()))
    while waiting:
        one = waiting.pop()
        name = kind(one)
        if name == "InSubquery":
            yield one.query().plan(), list(items(one.values()))
        elif name in _PLANS:
            yield one.plan(), []
        else:
            waiting += items(one.children())
