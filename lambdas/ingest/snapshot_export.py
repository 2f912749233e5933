"""The export of a snapshot to the readers, which a standby does not always do exactly.

A standby exports a snapshot without the transactions that were in progress if one of them has more
than 64 subtransactions (PostgreSQL's snapmgr.c: ExportSnapshot writes none of a snapshot that is
`suboverflowed`, and on a standby they are nowhere else). A session that imports it takes their rows
for those of aborted transactions, and marks them so in the pages. The standby then hides these rows
from every session, also after they were committed.

No role can see that a snapshot is `suboverflowed`, so none is exported of a standby that has
transactions in progress.
"""

import time
from typing import LiteralString

import psycopg

from lambdas.ingest.session import begin
from pipeline.errors import SourceBusy

SECONDS_TO_WAIT = 10.0
"""How long a run waits at a standby for an instant without a transaction in progress."""
_SECONDS_BETWEEN = 0.02
# A primary server's snapshot lists the transactions between the two. A standby's lists none.
_IS_EXACT: LiteralString = """
select
    pg_catalog.pg_snapshot_xmin(snapshot) = pg_catalog.pg_snapshot_xmax(snapshot)
    or exists (select from pg_catalog.pg_snapshot_xip(snapshot))
from pg_current_snapshot() as snapshot
"""


def begin_for_export(connection: psycopg.Connection) -> None:
    """Begins a transaction of one snapshot, which can be exported if there is such one soon."""
    end = time.monotonic() + SECONDS_TO_WAIT
    begin(connection)
    while not _is_exact(connection) and time.monotonic() < end:
        connection.execute("commit")
        time.sleep(_SECONDS_BETWEEN)
        begin(connection)


def export_snapshot(connection: psycopg.Connection) -> str:
    """Exports the connection's snapshot and returns its name, for other connections.

    Raises:
        SourceBusy: It is a standby's, and transactions were in progress.
    """
    if not _is_exact(connection):
        raise SourceBusy(
            "the source is a standby, and transactions are in progress on its primary server all "
            "the time: a standby exports no exact snapshot of them; end transactions that stay "
            "open, or give the source's secret the address of the primary server"
        )
    row = connection.execute("select pg_export_snapshot()").fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM gives one row  # nosec B101
    return str(row[0])


def _is_exact(connection: psycopg.Connection) -> bool:
    """Whether the sessions that import the connection's snapshot see what the connection sees."""
    return connection.execute(_IS_EXACT).fetchone() == (True,)
