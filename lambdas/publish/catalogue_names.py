"""Names in the Glue Data Catalog for tables and columns of the source, whatever their names are.

A name there is lower-case UTF-8 without control characters, of 255 bytes at the most (Amazon Athena
User Guide, "Name databases, tables, and columns"). Other characters are allowed: in a query such a
name stands in double quotes. Athena finds a Parquet file's column by its name, without regard to
case.
"""

import re
from collections.abc import Iterable

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def in_catalogue(names: Iterable[str], *, taken: Iterable[str] = ()) -> dict[str, str]:
    """Returns a name for each of some tables or columns, no two alike.

    Args:
        names: The names. A name that is its own name in the catalogue keeps it.
        taken: Names that are not free.
    """
    given = list(names)
    seen = {_plain(name) for name in taken}
    found: dict[str, str] = {}
    for name in sorted(given, key=lambda name: _plain(name) != name):
        candidate, number = _plain(name), 0
        while candidate.lower() in seen:
            number += 1
            candidate = f"{_plain(name)}_{number}"
        seen.add(candidate.lower())
        found[name] = candidate
    return {name: found[name] for name in given}


def _plain(name: str) -> str:
    return _CONTROL.sub("_", name.lower())
