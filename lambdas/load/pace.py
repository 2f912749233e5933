"""How many rows a load takes on at a time, and by which way."""

from collections.abc import Mapping
from dataclasses import dataclass

from lambdas.load.deadline import Deadline
from lambdas.load.lake import Versions


@dataclass(frozen=True)
class Pace:
    """What a load takes on at a time.

    Attributes:
        rows_per_second: What a load surely brings about. One that would have to be faster is
            resumable.
        rows_a_step: How many rows a transaction stages, give or take a batch.
        seconds_to_spare: A step ends early when there is less time than this.
        rows_worth_locks: A fact's first load of fewer rows keeps nobody out of its tables, which
            would save it two seconds.
    """

    rows_per_second: float = 15_000.0
    rows_a_step: int = 500_000
    seconds_to_spare: float = 20.0
    rows_worth_locks: int = 50_000

    def is_a_step(self, rows: int, deadline: Deadline) -> bool:
        """Returns whether so many rows are a step, or all that there is time for."""
        return rows >= self.rows_a_step or self.is_short(deadline)

    def is_short(self, deadline: Deadline) -> bool:
        """Returns whether there is no time for another step."""
        return deadline.seconds < self.seconds_to_spare

    def suffices(self, versions: Mapping[str, Versions], deadline: Deadline) -> bool:
        """Returns whether all rows surely fit into the time."""
        rows = sum(one.most_rows for one in versions.values())
        return rows <= deadline.seconds * self.rows_per_second
