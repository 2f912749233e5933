"""Rules that rows must satisfy: a demand in words, and a condition in Spark SQL.

A declaration lists the columns of the common rules by name (`given`, `dates`, `amounts`) and writes
any other rule out as `"demand" = "condition"`. A condition that is null counts as broken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Rule:
    """A rule of a table.

    Attributes:
        demand: What the rule requires, in words. It names the rule in reasons and metrics.
        condition: The condition in Spark SQL that a row must satisfy.
    """

    demand: str
    condition: str


@dataclass(frozen=True)
class Rules:
    """The rules of a table.

    Attributes:
        quarantining: A row that breaks one of these goes to the quarantine.
        stopping: A row that breaks one of these stops the build of the star table.
    """

    quarantining: tuple[Rule, ...] = ()
    stopping: tuple[Rule, ...] = ()

    @property
    def every(self) -> tuple[Rule, ...]:
        """All rules, the stopping ones first."""
        return self.stopping + self.quarantining


_VOCABULARY: Final = {
    "dates": Rule(
        "{} is a date, YYYY-MM-DD",
        "cast(try_cast({0} as date) as string) = {0} and "
        "try_cast({0} as date) between date'0001-01-01' and date'9999-12-31'",
    ),
    "amounts": Rule(
        "{} has at most 28 digits before the point and 10 after it",
        "cast({} as string) rlike '^-?[0-9]{{1,28}}([.][0-9]{{0,10}}0*)?$'",
    ),
    "given": Rule("{} is given", "{} is not null"),
}


def rules_of(document: Mapping[str, Any]) -> Rules:
    """Returns the rules that a declaration states in `rules` and `stopping_rules`.

    Raises:
        TypeError: A value is neither a condition nor a list of columns.
        KeyError: A list of columns has a name that is not in the vocabulary.
    """
    return Rules(
        quarantining=_expanded(document.get("rules", {})),
        stopping=_expanded(document.get("stopping_rules", {})),
    )


def _expanded(section: Mapping[str, Any]) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    for name, value in section.items():
        if isinstance(value, str):
            rules.append(Rule(name, value))
            continue
        pattern = _VOCABULARY[name]
        rules += (
            Rule(pattern.demand.format(column), pattern.condition.format(column))
            for column in value
        )
    return tuple(rules)
