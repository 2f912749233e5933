"""What a page is asked for: filters, period and time. The address of the page holds all of it."""

import datetime
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

_DAY: Final = datetime.timedelta(days=1)
_LARGEST: Final = 2**31 - 1


class FilterInvalid(Exception):
    """The address has a filter or a value that does not exist."""


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > _LARGEST:
        raise ValueError
    return int(text)


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text]


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError
    return text


def _day(text: str) -> datetime.date:
    day = datetime.date.fromisoformat(text)
    if day == datetime.date.max:  # which has no day after it, as the end of a day is reckoned
        raise ValueError
    return day


FILTERS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "currency": ("Currency", _number),
    "country": ("Country", _text),
    "counterparty": ("Counterparty", _number),
    "staff": ("Staff", _number),
    "design": ("Design", _number),
    "type": ("Type", _number),
    "paid": ("Paid", _truth),
}
"""Each filter's label, and how its values are read."""
_DAYS: Final = ("start", "end", "as_of")


@dataclass(frozen=True)
class Filters:
    """What is asked for.

    Attributes:
        values: The filters and their values, as in the address, in its order.
        start: The first day of the period.
        end: The last day of the period.
        as_of: The day at whose end (UTC) the facts are shown; None for now.
        whole: The chart whose categories are all shown.
    """

    values: tuple[tuple[str, str], ...] = ()
    start: datetime.date | None = None
    end: datetime.date | None = None
    as_of: datetime.date | None = None
    whole: str = ""

    @classmethod
    def read(cls, items: Iterable[tuple[str, str]]) -> "Filters":
        """Reads the query of an address. A field of the form that is left empty counts as absent.

        Raises:
            FilterInvalid: A name is unknown, or a value malformed.
        """
        values: list[tuple[str, str]] = []
        single: dict[str, Any] = {}
        for name, text in items:
            if not text and name not in FILTERS:  # an empty text may be a country
                continue
            try:
                if name in FILTERS:
                    FILTERS[name][1](text)
                    values.append((name, text))
                elif name in _DAYS:
                    single[name] = _day(text)
                elif name == "whole":
                    single[name] = text
                else:
                    raise FilterInvalid(f"there is no filter {name!r}")
            except (ValueError, KeyError) as error:
                raise FilterInvalid(f"the filter {name} has no value {text!r}") from error
        return cls(values=tuple(dict.fromkeys(values)), **single)

    def parameters(self, applied: Iterable[str], today: datetime.date) -> dict[str, Any]:
        """Returns the parameters of a page's queries.

        Args:
            applied: The filters that the page applies.
            today: The day of the facts if no time is asked for.
        """
        chosen = {
            name: [read(text) for own, text in self.values if own == name] or None
            for name, (_, read) in FILTERS.items()
        }
        until = self.as_of and datetime.datetime.combine(
            self.as_of + _DAY, datetime.time(), datetime.UTC
        )
        return {
            **{name: chosen[name] if name in set(applied) else None for name in FILTERS},
            "start": self.start,
            "end": self.end,
            "until": until,
            "reference": self.as_of or today,
        }

    def has(self, name: str, text: str) -> bool:
        """Returns whether a value of a filter is chosen."""
        return (name, text) in self.values

    def toggled(self, name: str, text: str) -> "Filters":
        """Returns the filters with a value added, or removed if it is chosen."""
        if self.has(name, text):
            return replace(self, values=tuple(one for one in self.values if one != (name, text)))
        return replace(self, values=(*self.values, (name, text)))

    def of_month(self, month: str) -> "Filters":
        """Returns the filters with a month as the period.

        Args:
            month: The month, such as `2026-01`.
        """
        start = datetime.date.fromisoformat(f"{month}-01")
        return replace(self, start=start, end=(start + 31 * _DAY).replace(day=1) - _DAY)

    def changed(self, **single: Any) -> "Filters":
        """Returns the filters with another period, time or chart."""
        return replace(self, **single)

    def address(self, page: str) -> str:
        """Returns the address of a page with these filters."""
        items = [*self.values, *self._single()]
        return f"/{page}" + (f"?{urlencode(items)}" if items else "")

    def _single(self) -> Iterator[tuple[str, str]]:
        for name in _DAYS:
            day = getattr(self, name)
            if day is not None:
                yield name, day.isoformat()
        if self.whole:
            yield "whole", self.whole
