"""The settings of every session at the warehouse, whatever those of its role and database are.

A connection with start-up options has them from its first statement on. A reader that may be behind
a connection pooler, which takes no such options, or whose driver has none, sets them in its
transaction.
"""

from collections.abc import Mapping
from typing import Final, LiteralString

from pipeline.errors import InvalidSettings
from pipeline.printing import PRINTING
from pipeline.warehouse_schema import Cursor

_OPTIONS: Final = {
    **PRINTING,
    # What is visible, and what a commit and an error mean.
    "default_transaction_deferrable": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "exit_on_error": "off",
    "row_security": "off",
    "synchronous_commit": "on",
    # The server ends the session of a function that was killed, with its locks, in a minute, also
    # where it waits for the function (_OF_LOADS: also where the function waits for it). The load
    # limits its statements itself.
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "0",
    "statement_timeout": "0",
    "tcp_keepalives_count": "3",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
}
_OF_NEWER_SERVERS: Final = {
    "idle_session_timeout": "0",
    "restrict_nonsystem_relation_kind": "",
    "transaction_timeout": "0",
}
"""Of PostgreSQL 14, of minor versions of 2024, and of 17: other servers refuse them as options."""
_OF_LOADS: Final = {
    "client_connection_check_interval": "2s",
    "tcp_user_timeout": "60000",
}
"""By which a server notices during a statement that its client has gone: the first setting (of
PostgreSQL 14) for a closed connection, the second one for a client that acknowledges nothing. The
second one would also end the session of a reader that takes a large result slowly."""
SETTINGS: Final = {**_OPTIONS, **_OF_NEWER_SERVERS}
"""The settings, as far as the server's version has them."""
# A server on another system than Linux may refuse to look for closed connections.
_SET: LiteralString = """
select
    pg_catalog.count(pg_catalog.set_config(pg_settings.name, wanted.value, %s)),
    pg_catalog.current_setting('session_replication_role')
from pg_catalog.pg_settings
join rows from (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[]))
    as wanted (name, value)
    on pg_catalog.lower(pg_settings.name) = wanted.name
where wanted.name <> 'client_connection_check_interval' or position('linux' in version()) > 0
"""


def start_up_options() -> str:
    """Returns libpq's keyword `options` for the settings that every version of a server has."""
    values = {name: value.replace(" ", r"\ ") for name, value in _OPTIONS.items()}
    return " ".join(f"-c {name}={value}" for name, value in values.items())


def complete(cursor: Cursor) -> None:
    """Gives a session with the start-up options its other settings.

    These are what only newer servers have, and what a killed function's locks end by.

    Raises:
        InvalidSettings: The role does without foreign keys and triggers.
    """
    _set(cursor, {**_OF_NEWER_SERVERS, **_OF_LOADS}, is_local=False)
    _, replication_role = cursor.fetchall()[0]
    if replication_role == "replica":
        raise InvalidSettings(
            "the role in the warehouse's secret has session_replication_role = replica, so that "
            "no foreign key is checked and no trigger runs: reset that for the role, the database "
            "or the server"
        )


def set_local(cursor: Cursor, own: Mapping[str, str] | None = None) -> None:
    """Gives the open transaction the settings.

    Args:
        cursor: A cursor of the session.
        own: Settings of the caller, which are set besides, or instead.
    """
    _set(cursor, {**SETTINGS, **(own or {})}, is_local=True)


def _set(cursor: Cursor, settings: Mapping[str, str], *, is_local: bool) -> None:
    cursor.execute(_SET, [is_local, list(settings), list(settings.values())])
