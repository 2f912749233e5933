"""The days that dim_date may hold. Every date of a fact has to be one of them."""

from dataclasses import dataclass
from datetime import date

from star_schema import files


@dataclass(frozen=True)
class Calendar:
    """The bounds of the calendar, both inclusive."""

    first: date
    last: date


def calendar() -> Calendar:
    """Returns the calendar that is declared with dim_date.

    Raises:
        DeclarationInvalid: The declaration is malformed or has no calendar.
    """
    document = files.document(files.TABLES, "dim_date")
    with files.naming_the_file(files.TABLES, "dim_date"):
        return Calendar(**document["calendar"])
