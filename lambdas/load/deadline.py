"""How long a load may take: the caller's time, and the limits that the server is given for it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from pipeline.errors import WarehouseBusy

_SECONDS_TO_END = 10.0
"""What is kept of the time allowed: to roll back, and to say what happened."""


@dataclass(frozen=True)
class Deadline:
    """When a load has to have ended.

    Attributes:
        connection: The warehouse.
        seconds_left: How long the caller may still run.
        lock_seconds: How long to wait for a lock that somebody else holds.
    """

    connection: psycopg.Connection
    seconds_left: Callable[[], float]
    lock_seconds: float

    @property
    def seconds(self) -> float:
        """What is left to work in."""
        return self.seconds_left() - _SECONDS_TO_END

    def limit(self) -> None:
        """Has the server give up a statement before the caller is killed in the middle of it.

        A wait for a lock ends sooner: tried again, it may find the lock free.

        Raises:
            WarehouseBusy: There is no time left.
        """
        seconds = self.seconds
        if seconds <= 0:
            raise WarehouseBusy(
                "the load would not end in the time that the Load function has; nothing was "
                "changed: raise its MemorySize, or see what keeps the warehouse busy"
            )
        self.connection.execute(
            "select set_config('statement_timeout', %s, false), "
            "set_config('lock_timeout', %s, false)",
            [f"{math.ceil(limit * 1000)}ms" for limit in (seconds, self.lock_seconds)],
        )
