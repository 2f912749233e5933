"""A transaction that has been open for long: it is named, because nobody may know of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString

import psycopg
from psycopg.rows import class_row

from lambdas.ingest.discovery import SourceSnapshot
from lambdas.ingest.names import UNREADABLE
from pipeline.manifest import Manifest

LONG = timedelta(hours=1)
"""A transaction that has been open for less causes no warning."""

# backend_xid is visible to every role; xact_start only to members of pg_read_all_stats.
_HOLDER: LiteralString = """
select
    pg_catalog.format(
        'session %%s (role %%s, database %%s, application %%s)',
        pid, usename, datname, coalesce(nullif(application_name, ''), 'unknown')
    ) as name,
    pg_catalog.format('select pg_terminate_backend(%%s)', pid) as remedy,
    xact_start as began
from pg_stat_activity
where backend_xid = (%(horizon)s %% 4294967296)::text::xid
union all
select
    pg_catalog.format('prepared transaction %%L (role %%s, database %%s)', gid, owner, database),
    pg_catalog.format('rollback prepared %%L', gid),
    prepared
from pg_prepared_xacts
where transaction = (%(horizon)s %% 4294967296)::text::xid
"""


@dataclass(frozen=True)
class OpenTransaction:
    """A transaction that has been open for long.

    Attributes:
        name: Its session, its prepared transaction, or its id.
        remedy: The statement that ends it; empty if the server does not show who holds it.
        began: When it began, or a later time at which it was open.
    """

    name: str
    remedy: str
    began: datetime


@dataclass(frozen=True)
class _Holder:
    """The session or the prepared transaction of a transaction id.

    Attributes:
        name: What it is.
        remedy: The statement that ends it.
        began: When the transaction began; None if the role may not know.
    """

    name: str
    remedy: str
    began: datetime | None


def long_transaction_warnings(
    connection: psycopg.Connection, snapshot: SourceSnapshot, previous: Manifest | None
) -> tuple[str, ...]:
    """Returns a warning if the snapshot's oldest transaction has been open for long."""
    found = long_transaction(connection, snapshot, previous)
    if found is None:
        return ()
    remedy = f", or end it with: {found.remedy}" if found.remedy else ""
    return (
        f"{found.name} has been open since {found.began:%Y-%m-%d %H:%M} UTC or longer: while it is "
        f"open, each run searches all rows that were written since then; commit it{remedy}",
    )


def long_transaction(
    connection: psycopg.Connection, snapshot: SourceSnapshot, previous: Manifest | None
) -> OpenTransaction | None:
    """Returns the snapshot's oldest transaction if it has been open for long.

    Args:
        connection: A connection to the source.
        snapshot: The snapshot.
        previous: The newest committed run: a transaction that it saw is older than that run.
    """
    if snapshot.horizon == snapshot.next_transaction:
        return None
    holder = _holder(connection, snapshot.horizon)
    began = [holder.began] if holder and holder.began else []
    if previous and snapshot.horizon < previous.next_transaction:
        began.append(datetime.fromisoformat(previous.snapshot_at))
    if not began or datetime.fromisoformat(snapshot.taken_at) - min(began) < LONG:
        return None
    name = holder.name if holder else f"transaction {snapshot.horizon}"
    return OpenTransaction(name, holder.remedy if holder else "", min(began))


def _holder(connection: psycopg.Connection, horizon: int) -> _Holder | None:
    """Returns whose the snapshot's oldest transaction is; None if that cannot be read."""
    try:
        with (
            connection.transaction(force_rollback=True),
            connection.cursor(row_factory=class_row(_Holder)) as cursor,
        ):
            return cursor.execute(_HOLDER, {"horizon": horizon}).fetchone()
    except UNREADABLE:
        return None
