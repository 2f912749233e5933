"""Checks that a rule judges a row by the raw zone alone: its verdict is the same in every build."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as f

from glue_jobs.build.plans import Moment, items, kind, plan_of
from pipeline.errors import DeclarationInvalid
from star_schema.rules import Rule, Rules

_WINDOW: Final = "Window"
_SEQUENCE: Final = "_sequence"
_OF_MOMENT: Final = (
    "a function whose result differs from one read to the next, such as current_date"
)


def check_rules(rows: DataFrame, rules: Rules, *, file: str) -> None:
    """Checks the rules of rows.

    Args:
        rows: The rows, whose own plan depends on nothing but the raw zone.
        rules: The rules.
        file: Where they are declared.

    Raises:
        DeclarationInvalid: A rule's verdict depends on more than the row and the run.
    """
    if not rules.every or not any(_problems(rows, rules.every, rules.quarantining)):
        return
    for rule in rules.every:
        for problem in _problems(rows, [rule], rules.quarantining):
            raise DeclarationInvalid(
                f"the rule '{rule.demand}' of star_schema/definitions/{file}.toml has {problem}: "
                "every build has to give the same verdict on a row; compare columns of the row"
            )


def _problems(
    rows: DataFrame, rules: Iterable[Rule], quarantining: Iterable[Rule]
) -> Iterator[str]:
    conditions = [f.expr(rule.condition) for rule in rules]
    judged = rows.select("*", *conditions)
    is_of_moment, is_any = Moment(rows), not set(quarantining).isdisjoint(rules)
    whole = plan_of(judged)
    named = any(is_of_moment.is_named_in(rule.condition) for rule in rules)
    if named or is_of_moment.casts_special_text(whole):
        yield _OF_MOMENT
    for node in _added(whole, plan_of(rows)):
        if any(map(is_of_moment, items(node.expressions()))):
            yield _OF_MOMENT
        if node.subqueries().size():
            yield "a subquery"
        if kind(node) == _WINDOW and is_any:
            yield "a window function, which stopping rules alone may have"
        if kind(node) == _WINDOW and not _is_of_one_run(node):
            yield "a window of several runs, without _sequence in its partition"


def _added(plan: Any, base: Any) -> Iterator[Any]:
    """Yields the nodes of a plan above another one."""
    while not plan.fastEquals(base):
        yield plan
        (plan,) = items(plan.children())


def _is_of_one_run(window: Any) -> bool:
    return any(
        kind(one) == "AttributeReference" and one.name() == _SEQUENCE
        for one in items(window.partitionSpec())
    )
