"""A row's life on a page: what `make trace` prints, read when the template comes to it."""

import shlex
from collections.abc import Callable
from urllib.parse import quote

from botocore.exceptions import BotoCoreError

from dashboard.problem import Problem
from dashboard.queries import PAGES, Page, page
from lineage.keys import read_key
from lineage.trace import Trace
from local.stack import NotUp
from pipeline.errors import InvalidInput, PipelineError, first_line
from star_schema.tables import StarTable, star_tables

Follow = Callable[[str, str], Trace]
"""Follows the row of a star table and a natural key through all parts of a stack."""
_NO_STACK = Problem(
    "This dashboard knows a warehouse only, and not the stack that fills it",
    "The raw zone, the lake and the source cannot be reached without the stack's name.",
)


class Life:
    """The life of a row, and what the template reads besides.

    Args:
        star: The star table.
        key: The natural key, as somebody wrote it.
        follow: Follows the row; None if the stack is not known.

    Raises:
        InvalidInput: The table can have no such key.
    """

    def __init__(self, star: StarTable, key: str, follow: Follow | None) -> None:
        self.table = star.name
        self.natural_key = star.natural_key
        self.key = read_key(star, key)
        self._follow = follow

    @property
    def pages(self) -> list[Page]:
        """The pages with figures."""
        return [page(name) for name in PAGES]

    @property
    def command(self) -> str:
        """The command that prints the same."""
        return f"make trace TABLE={self.table} KEY={shlex.quote(self.key)}"

    def trace(self) -> Trace | Problem:
        """Reads all parts of the stack."""
        if self._follow is None:
            return _NO_STACK
        try:
            return self._follow(self.table, self.key)
        except (NotUp, PipelineError, BotoCoreError) as error:
            return Problem("The stack cannot be reached", first_line(error))


def life_of(table: str, key: str, follow: Follow | None) -> Life:
    """Returns the life of a row that an address names.

    Args:
        table: The star table, as it is in the address.
        key: The natural key, as it is in the address.
        follow: Follows the row; None if the stack is not known.

    Raises:
        InvalidInput: There is no such star table, or it can have no such key.
    """
    star = next((one for one in star_tables() if one.name == table), None)
    if star is None:
        raise InvalidInput(f"there is no star table {table!r}")
    return Life(star, key, follow)


def address(table: str, key: str) -> str:
    """Returns the address of a row's life.

    Args:
        table: The star table.
        key: The natural key.
    """
    return f"/trace/{quote(table, safe='')}/{quote(key, safe='')}"
