"""What a table's TOML file beside the SQL declares.

Of a star table (and the quarantine): what it and its columns hold. Of a source table: the rules
that its rows have to keep.
"""

import tomllib
from functools import cache
from importlib import resources


def declared(table: str, section: str) -> dict[str, str]:
    """Returns a section of a table's declarations, in their order; empty if it has none."""
    return dict(_sections(table).get(section, {}))


@cache
def _sections(table: str) -> dict[str, dict[str, str]]:
    file = resources.files("glue_jobs.star_schema.sql") / f"{table}.toml"
    return tomllib.loads(file.read_text()) if file.is_file() else {}
