"""What a check found, and how it is declared."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from doctor.place import Place


class Status(StrEnum):
    """The result of a check."""

    OK = "ok"
    FAULT = "fault"
    """Something has to be mended."""
    UNKNOWN = "unknown"
    """The check could not be made."""
    NOT_APPLICABLE = "not applicable"
    """There is nothing to look at, by choice: another kind of place, or a parameter."""


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        status: The result.
        message: What was seen: for a fault, what is wrong and where.
        fixes: The statements or commands that mend it, to be copied; for an unknown result, what
            allows the check to be made.
    """

    status: Status
    message: str
    fixes: tuple[str, ...] = ()


class CannotLook(Exception):
    """A check cannot be made. The message says why.

    Args:
        reason: Why.
        fixes: What allows the check to be made.
    """

    def __init__(self, reason: str, *fixes: str) -> None:
        super().__init__(reason)
        self.fixes = fixes


@dataclass(frozen=True)
class Check:
    """A check. docs/operations.md says why it is made, and what mends what it finds.

    Attributes:
        name: Its name: the group, a dot, and the thing.
        what: What it looks at.
        look: Makes the check.
        seconds: How long it may take.
    """

    name: str
    what: str
    look: "Callable[[Place], Finding]"
    seconds: float = 30.0

    @property
    def group(self) -> str:
        """The group: the part of the name before the dot."""
        return self.name.partition(".")[0]


def ok(message: str) -> Finding:
    """Returns that all is well."""
    return Finding(Status.OK, message)


def fault(message: str, *fixes: str) -> Finding:
    """Returns what is wrong, and what mends it."""
    return Finding(Status.FAULT, message, fixes)


def not_applicable(reason: str) -> Finding:
    """Returns why there is nothing to look at."""
    return Finding(Status.NOT_APPLICABLE, reason)


def judged(problems: dict[str, str], all_well: str) -> Finding:
    """Returns a fault of several problems, or that all is well if there is none.

    Args:
        problems: What mends each problem, by what is wrong.
        all_well: What is said if there is none.
    """
    if not problems:
        return ok(all_well)
    return fault("; ".join(problems), *dict.fromkeys(problems.values()))
