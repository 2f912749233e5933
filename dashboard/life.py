"""A row's life on a page: what `make trace` prints, read when the template comes to it."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from botocore.exceptions import BotoCoreError

from dashboard.problem import Problem
from dashboard.queries import PAGES, Page, page
from lineage.keys import read_key
from lineage.trace import Trace
from local.stack import NotUp
from pipeline.errors import InvalidInput, PipelineError, first_line
from star_schema.tables import StarTable, star_tables


@dataclass(frozen=True)
class Stack:
    """The stack that fills the warehouse.

    Attributes:
        follow: Follows the row of a star table and a natural key through all parts of the stack.
        environment: The stack's environment of samconfig.toml; empty for the local stack.
    """

    follow: Callable[[str, str], Trace]
    environment: str = ""


_NO_STACK = Problem(
    "This dashboard knows a warehouse only, and not the stack that fills it",
    "The raw zone, the lake and the source cannot be reached without the stack's name.",
)


class Life:
    """The life of a row, and what the template reads besides.

    Args:
        star: The star table.
        key: The natural key, as somebody wrote it.
        stack: The stack; None if it is not known.

    Raises:
        InvalidInput: The table can have no such key.
    """

    def __init__(self, star: StarTable, key: str, stack: Stack | None) -> None:
        self.table = star.name
        self.natural_key = star.natural_key
        self.key = read_key(star, key)
        self._stack = stack

    @property
    def pages(self) -> list[Page]:
        """The pages with figures."""
        return [page(name) for name in PAGES]

    @property
    def is_stack_known(self) -> bool:
        """Whether the command is that of the warehouse's own stack."""
        return self._stack is not None

    @property
    def command(self) -> str:
        """The command that prints the same."""
        environment = self._stack.environment if self._stack else ""
        of_stack = f" ENV={shlex.quote(environment)}" if environment else ""
        return f"make trace TABLE={self.table} KEY={shlex.quote(self.key)}{of_stack}"

    def trace(self) -> Trace | Problem:
        """Reads all parts of the stack."""
        if self._stack is None:
            return _NO_STACK
        try:
            return self._stack.follow(self.table, self.key)
        except (NotUp, PipelineError, BotoCoreError) as error:
            return Problem("The stack cannot be reached", first_line(error))


def life_of(table: str, key: str, stack: Stack | None) -> Life:
    """Returns the life of a row that an address names.

    Args:
        table: The star table, as it is in the address.
        key: The natural key, as it is in the address.
        stack: The stack; None if it is not known.

    Raises:
        InvalidInput: There is no such star table, or it can have no such key.
    """
    star = next((one for one in star_tables() if one.name == table), None)
    if star is None:
        raise InvalidInput(f"there is no star table {table!r}")
    return Life(star, key, stack)


def address(table: str, key: str) -> str:
    """Returns the address of a row's life.

    Args:
        table: The star table.
        key: The natural key.
    """
    return f"/trace/{quote(table, safe='')}/{quote(key, safe='')}"
