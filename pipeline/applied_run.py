"""The run through which a star table is built, as a build tells it in the snapshot that it commits.

Source: Iceberg table spec, "Snapshots" (optional snapshot summary fields).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

APPLIED_THROUGH: Final = "applied-through"
"""The property of a snapshot with the sequence of the newest run that the table's rows show."""
RUN_ID: Final = "run-id"
"""The property with the name of the execution that made that run."""
BEGAN_AT: Final = "build-began-at-ms"
"""The property with the time when the build of the table began, in milliseconds since 1970."""
DECLARED: Final = "declared-as"
"""The property with the digest of the declaration that gave all rows; `SEVERAL` if several did."""
SEVERAL: Final = "several"
BUILT_ANEW: Final = "built-anew"
"""The property that is "true" if the commit replaced all rows that the table had."""


@dataclass(frozen=True)
class AppliedRun:
    """The run through which a star table is built.

    Attributes:
        through: The run's sequence; 0 if the table has no rows.
        run_id: The name of the execution that made that run; empty if the table does not tell.
    """

    through: int
    run_id: str = ""

    @classmethod
    def named_in(cls, summary: Mapping[str, str]) -> Self | None:
        """Returns the run that a snapshot's summary names; None if it names none."""
        if APPLIED_THROUGH not in summary:
            return None
        return cls(int(summary[APPLIED_THROUGH]), summary.get(RUN_ID) or "")


NEVER: Final = AppliedRun(0)
"""What holds for a table that no build has filled."""
