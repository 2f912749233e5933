"""Rules that rows must satisfy: a demand in words, and a condition in Spark SQL.

A declaration lists the columns of the common rules by name (`given`, `dates`, `moments`, `amounts`)
and writes any other rule as `"demand" = "condition"`. A condition that is null counts as broken.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from star_schema.calendar import calendar


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


_DATE: Final = Rule(
    "{0} is a date, YYYY-MM-DD",
    "cast(try_cast({0} as date) as string) = {0} and "
    "try_cast({0} as date) between date'0001-01-01' and date'9999-12-31'",
)
# A cast of a text to a timestamp applies its zone, and a cast to a date does not.
_MOMENT: Final = Rule(
    "{0} is a timestamp, without a zone if it is text",
    "{0} is null or try_cast({0} as timestamp_ntz) = try_cast({0} as timestamp)",
)
# What is no date, or null, breaks a rule above or `given`: one reason is enough.
_IN_CALENDAR: Final = Rule(
    "{0} is between {first} and {last}",
    "coalesce(try_cast({0} as date) between date'{first}' and date'{last}', true)",
)
# Engines print some floating-point numbers with an exponent. A cast of one that prints without it
# goes by its binary value, so a SELECT casts the text too.
_AMOUNT: Final = Rule(
    "{0} has at most 28 digits before the point and 10 after it",
    "cast({0} as string) rlike '^-?[0-9]{{1,28}}([.][0-9]{{0,10}}0*)?$' or ("
    "cast({0} as string) rlike '^-?[0-9]([.][0-9]+)?[Ee][-+]?[0-9]+$' and "
    # By its text: DuckDB's cast of a decimal to a double is not the nearest one.
    "cast(cast(try_cast(cast({0} as string) as decimal(38, 10)) as string) as double) "
    "= try_cast(cast({0} as string) as double))",
)
_GIVEN: Final = Rule("{0} is given", "{0} is not null")
_VOCABULARY: Final = {
    "dates": (_DATE, _IN_CALENDAR),
    "moments": (_MOMENT, _IN_CALENDAR),
    "amounts": (_AMOUNT,),
    "given": (_GIVEN,),
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
        patterns = _VOCABULARY[name]
        rules += (_filled(pattern, column) for column in value for pattern in patterns)
    return tuple(rules)


def _filled(pattern: Rule, column: str) -> Rule:
    bounds = asdict(calendar())
    return Rule(pattern.demand.format(column, **bounds), pattern.condition.format(column, **bounds))
