"""Names in the Glue Data Catalog for tables and columns of the source, whatever their names are.

A name there is lower-case UTF-8 without control characters, of 255 bytes at the most (Amazon Athena
User Guide, "Name databases, tables, and columns"). Other characters are allowed: in a query such a
name stands in double quotes. Athena finds a Parquet file's column by its name, without regard to
case.
"""

import re
import string
from collections.abc import Callable, Iterable

_LATIN = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def in_files(columns: Iterable[str]) -> dict[str, str]:
    """Returns the names of a table's columns in the raw files.

    DuckDB, which writes the files, takes names that differ by the case of Latin letters alone for
    one name, and numbers them.

    Args:
        columns: The columns' names, in the table's order.
    """
    return _numbered(columns, lambda name: name, alike=lambda name: name.translate(_LATIN))


def in_catalogue(names: Iterable[str], *, taken: Iterable[str] = ()) -> dict[str, str]:
    """Returns a name for each of some tables or columns, no two alike.

    Args:
        names: The names. A name that is its own name in the catalogue keeps it.
        taken: Names that are not free.
    """
    given = list(names)
    ordered = sorted(given, key=lambda name: _plain(name) != name)
    found = _numbered([*taken, *ordered], _plain, alike=str.lower)
    return {name: found[name] for name in given}


def _plain(name: str) -> str:
    return _CONTROL.sub("_", name.lower())


def _numbered(
    names: Iterable[str], written: Callable[[str], str], *, alike: Callable[[str], str]
) -> dict[str, str]:
    """Returns how names are written, with a number where another name is written alike."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    for name in names:
        candidate, number = written(name), 0
        while alike(candidate) in seen:
            number += 1
            candidate = f"{written(name)}_{number}"
        seen.add(alike(candidate))
        found[name] = candidate
    return found
