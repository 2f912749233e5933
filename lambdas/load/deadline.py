"""The time limit of a load: its caller's time, and the server's timeouts that follow from it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from pipeline.errors import WarehouseBusy

_SECONDS_TO_END = 10.0
"""The part of the time that is kept for the rollback and the error message."""


@dataclass(frozen=True)
class Deadline:
    """The time limit of a load.

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
        """The time that remains for statements."""
        return self.seconds_left() - _SECONDS_TO_END

    def limit(self) -> None:
        """Sets the server's statement_timeout and lock_timeout, so that both end before the caller.

        The lock timeout is shorter, because a retry may find the lock free.

        Raises:
            WarehouseBusy: No time remains.
        """
        seconds = self.seconds
        if seconds <= 0:
            raise WarehouseBusy(
                "the load would not end in the time that the Load function has; nothing was "
                "changed: raise its MemorySize, or find out what keeps the warehouse busy"
            )
        self.connection.execute(
            "select pg_catalog.set_config('statement_timeout', %s, false), "
            "pg_catalog.set_config('lock_timeout', %s, false)",
            [f"{math.ceil(limit * 1000)}ms" for limit in (seconds, self.lock_seconds)],
        )
