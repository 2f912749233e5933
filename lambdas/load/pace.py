"""How many rows a load copies at a time, and whether it stages them first."""

from collections.abc import Mapping
from dataclasses import dataclass

from lambdas.load.deadline import Deadline
from lambdas.load.lake import Versions


@dataclass(frozen=True)
class Pace:
    """The limits of a load.

    Attributes:
        rows_per_second: A speed that every load reaches. If the remaining time requires more, the
            load is staged in steps.
        rows_a_step: The number of rows that a transaction stages, to the next batch.
        seconds_to_spare: A step ends early if less time than this remains.
        rows_worth_locks: A fact's first load of fewer rows does not lock its tables: the locks
            would save less than two seconds.
        rows_worth_checks: A load of fewer rows of a fact leaves the foreign keys to PostgreSQL,
            which checks them in the time of the queries that would save it.
    """

    rows_per_second: float = 15_000.0
    rows_a_step: int = 500_000
    seconds_to_spare: float = 20.0
    rows_worth_locks: int = 50_000
    rows_worth_checks: int = 300

    def is_a_step(self, rows: int, deadline: Deadline) -> bool:
        """Returns whether a step ends after this number of rows, or for lack of time."""
        return rows >= self.rows_a_step or self.is_short(deadline)

    def is_short(self, deadline: Deadline) -> bool:
        """Returns whether the remaining time is too short for another step."""
        return deadline.seconds < self.seconds_to_spare

    def suffices(self, versions: Mapping[str, Versions], deadline: Deadline) -> bool:
        """Returns whether every load of this many rows ends in the remaining time."""
        rows = sum(one.most_rows for one in versions.values())
        return rows <= deadline.seconds * self.rows_per_second
