"""Failures of one table, told apart from failures of the run.

A table that cannot be planned or read is not taken: its cursor does not move, and nothing of it is
visible. All other tables are taken. Errors are told apart by SQLSTATE (PostgreSQL documentation,
appendix "PostgreSQL Error Codes").
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from pipeline.errors import SourceBusy, first_line

INTERNAL = "XX000"
"""Of a relation that has just been dropped, and also of a damaged row."""
_PASSING = (
    "08",  # connection exception: of a foreign data wrapper, as the session itself goes on
    "3F000",  # invalid_schema_name: dropped since the run's snapshot, like the next three
    "42P01",  # undefined_table
    "42703",  # undefined_column
    "42704",  # undefined_object
    "40",  # transaction rollback: deadlocks, conflicts with recovery
    "53",  # insufficient resources
    "55",  # object not in prerequisite state: lock_not_available among them
    "57014",  # query_canceled: statement_timeout
    "72000",  # snapshot_too_old: old_snapshot_threshold, before PostgreSQL 17
    INTERNAL,  # internal_error: "could not open relation with OID", of a leaf that was dropped
)
_ADVICE = {
    "0A": "leave the table out, or read it from the primary server",
    "22": "correct the rows, or the column's expression",
    "40001": "set hot_standby_feedback = on at the standby, or read from the primary server",
    "72": "increase old_snapshot_threshold of its server, or switch that off",
    "42501": "grant the source's role SELECT on it, and BYPASSRLS if the table has policies",
}
_PASSING_ADVICE = "see in pg_stat_activity who locks or alters it, and start the pipeline again"
_OTHER_ADVICE = "correct the table, or leave it out"


class TableFailure(Exception):
    """A table cannot be taken; the other tables can.

    Attributes:
        reason: What happened, with the SQLSTATE if there is one, and what to do.
        is_passing: Whether the same read may succeed later.
    """

    def __init__(self, reason: str, *, is_passing: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_passing = is_passing


def table_failure(error: psycopg.Error) -> TableFailure:
    """Returns the failure that a server's error means for the table that was planned or read.

    Raises:
        psycopg.Error: The error ends the session, so it is not the table's.
    """
    code = error.sqlstate
    if code is None or error.diag.severity_nonlocalized in ("FATAL", "PANIC"):
        raise error
    is_passing = code.startswith(_PASSING)
    advice = _ADVICE.get(code) or _ADVICE.get(code[:2])
    other = _PASSING_ADVICE if is_passing else _OTHER_ADVICE
    return TableFailure(f"{code}: {first_line(error)}; {advice or other}", is_passing=is_passing)


class Failures:
    """The tables that a run does not take.

    Args:
        is_last_attempt: Whether a failure that may pass counts; otherwise it ends the invocation.
        reasons: The tables that an earlier invocation of the run could not take.

    Attributes:
        reasons: Why each table is not taken, by name.
    """

    def __init__(
        self, *, is_last_attempt: bool = True, reasons: dict[str, str] | None = None
    ) -> None:
        self._is_last_attempt = is_last_attempt
        self.reasons = dict(reasons or {})

    @contextmanager
    def of(self, table: str) -> Iterator[None]:
        """Keeps the failure of a table, if what is done with it fails.

        Raises:
            SourceBusy: The failure may pass, and this is not the last attempt.
        """
        try:
            yield
        except psycopg.Error as error:
            self.add(table, table_failure(error))
        except TableFailure as failure:
            self.add(table, failure)

    def add(self, table: str, failure: TableFailure) -> None:
        """Keeps the failure of a table.

        Raises:
            SourceBusy: The failure may pass, and this is not the last attempt.
        """
        if failure.is_passing and not self._is_last_attempt:
            raise SourceBusy(
                f"table {table} cannot be read now ({failure.reason}): nothing of this run is "
                "visible; the state machine tries it again"
            )
        self.reasons[table] = failure.reason
