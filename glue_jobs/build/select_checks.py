"""Checks that a SELECT gives the same rows whenever it is read, and however many runs are at once.

A table is a pure function of the raw zone only if its SELECT is one. Where no sources are joined, a
build reads the rows that runs captured, not the whole source: a SELECT may look at one row at a
time. Where sources are joined, a SELECT may look at all rows of one run.
"""

from collections import Counter
from typing import Any, Final

from pyspark.sql import DataFrame

from glue_jobs.build.lake import INTEGERS
from glue_jobs.build.plans import (
    VIEW,
    Moment,
    is_temporary,
    items,
    kind,
    outputs,
    own_nodes,
    plan_of,
    view_name,
)
from glue_jobs.build.row_order import RowOrder
from glue_jobs.build.states import States, invalid
from pipeline.errors import SourceSchemaChanged
from star_schema.sources import declared_source
from star_schema.tables import StarTable

CURRENCIES: Final = "iso_4217"
"""A view of the job's own: the code and the name of every currency."""
_SEQUENCE: Final = "_sequence"
_ABSENT: Final = "absent"
_ARBITRARY: Final = {
    "GlobalLimit": "a limit",
    "LocalLimit": "a limit",
    "Offset": "an offset",
    "Sample": "a sample",
}
"""Nodes that choose rows by an order that is not the data's."""
_CONSTANT: Final = frozenset({"CTERelationRef", "LocalRelation", "OneRowRelation", "Range"})
"""Nodes without a child that have rows of the SELECT's own, by its text alone."""
_OF_MANY_ROWS: Final = {
    "Aggregate": "an aggregate function",
    "Window": "a window function",
    "Generate": "a function that makes several rows of one",
}


def check_columns(rows: DataFrame, star: StarTable) -> None:
    """Compares the columns of a star table's SELECT with its declaration.

    Integers keep the width that the source gives them: copies of the source differ in it.

    Raises:
        DeclarationInvalid: The SELECT gives no `_sequence`, or two columns of a name.
        SourceSchemaChanged: A column is absent, is not declared, or has another type.
    """
    names = Counter(rows.columns)
    if not names[_SEQUENCE]:
        raise invalid(star, "no _sequence", "hand on the _sequence of its row source")
    if twice := [name for name, times in names.items() if times > 1]:
        raise invalid(star, f"{', '.join(twice)} more than once", "name each column once")
    declared = {column.name: column.type for column in star.columns if column.name in star.selected}
    found = {name: given for name, given in rows.dtypes if name != _SEQUENCE}
    for name in sorted(declared.keys() | found.keys()):
        wanted, given = declared.get(name, _ABSENT), found.get(name, _ABSENT)
        if wanted != given and not {wanted, given} <= INTEGERS:
            raise SourceSchemaChanged(
                f"{star.name}.{name} is {wanted} in {star.name}.toml and {given} in "
                f"{star.name}.sql: correct one of the files, or cast the column in the SELECT"
            )


def check_select(rows: DataFrame, star: StarTable) -> None:
    """Checks the plan of a star table's SELECT, down to the views of its sources.

    Raises:
        DeclarationInvalid: The SELECT depends on more than the rows that it may depend on.
    """
    plan = plan_of(rows)
    is_of_moment = Moment(rows)
    nodes = tuple(own_nodes(plan))
    kinds = [kind(node) for node in nodes]
    # Of most plans, the views of the sources included, one look tells that nothing is.
    differs = is_of_moment(plan) and any(
        is_of_moment(expression) for node in nodes for expression in items(node.expressions())
    )
    wholes = (plan, *(inner for node in nodes for inner in items(node.subqueries())))
    if (
        differs
        or is_of_moment.is_named_in(star.select)
        or any(map(is_of_moment.casts_special_text, wholes))
    ):
        raise invalid(
            star,
            "a function whose result differs from one read to the next, such as rand or "
            "current_timestamp",
            "a rebuild has to give the same rows: take the value from a column of the source",
        )
    for found in filter(_ARBITRARY.get, kinds):
        raise invalid(star, _ARBITRARY[found], "which rows it keeps is chance: select all rows")
    _check_order(star, nodes)
    _check_reads_sources(star, nodes, kinds)
    if star.row_source is None:
        return
    if not star.joined_sources:
        _check_looks_at_one_row(star, nodes, kinds)
    _check_is_of_one_run(rows, star)


def _check_order(star: StarTable, nodes: tuple[Any, ...]) -> None:
    keys = {source: declared_source(source).natural_key for source in star.sources}
    order = RowOrder({**keys, CURRENCIES: "code", star.name: star.natural_key}, nodes)
    if found := next(order.aggregates(), None):
        raise invalid(
            star,
            f"an aggregate function of rows in any order, {found}",
            "a rebuild has to give the same rows: take min or max, order listagg within its group, "
            "sort the array, order max_by by the natural key as well, or cast to a decimal",
        )
    if found := next(order.windows(), None):
        raise invalid(
            star,
            f"a window function of rows in any order, {found}",
            "a rebuild has to give the same rows: order the window by the natural keys of its "
            "sources as well",
        )


def _check_reads_sources(star: StarTable, nodes: tuple[Any, ...], kinds: list[str]) -> None:
    own = (star.name,) if star.own_columns else ()
    views = {*star.sources, CURRENCIES, *own}
    for node, found in zip(nodes, kinds, strict=True):
        if found == VIEW:
            is_declared = is_temporary(node) and view_name(node) in views
        else:
            is_declared = found in _CONSTANT or bool(node.children().size())
        if not is_declared:
            raise invalid(
                star,
                "a table that is none of its sources",
                f"its rows have to be those of the raw zone: read {', '.join(sorted(views))} alone",
            )


def _check_looks_at_one_row(star: StarTable, nodes: tuple[Any, ...], kinds: list[str]) -> None:
    for found in filter(_OF_MANY_ROWS.get, kinds):
        raise invalid(
            star,
            _OF_MANY_ROWS[found],
            f"a build reads the changed rows of {star.row_source} alone, and each gives one row: "
            "compute this in a view of the warehouse",
        )
    if sum(view_name(node) in star.sources for node in nodes if kind(node) == VIEW) > 1:
        raise invalid(
            star,
            "more than one reference to its sources",
            "a build reads their changed rows alone: list them in joined_sources of "
            f"{star.name}.toml, and join their _sequence as well",
        )


def _check_is_of_one_run(rows: DataFrame, star: StarTable) -> None:
    plan = plan_of(rows)
    states = States(star, plan)
    given = dict(zip(rows.columns, outputs(plan), strict=True))
    if not states.has_run(given[_SEQUENCE]):
        raise invalid(star, "a _sequence of its own", "hand on that of its row source")
    if not states.is_key(given[star.natural_key]):
        key = declared_source(str(star.row_source)).natural_key
        raise invalid(
            star,
            f"a {star.natural_key} that is not the {key} of {star.row_source}",
            f"by the keys of {star.row_source} deletions are told: hand on {key} as it is",
        )
