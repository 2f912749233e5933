"""The settings of every transaction at the source, and the server that it runs on.

A role, a database or a server may have settings that change what a query shows, how a value is
printed, or how long a statement may take. Every transaction overrides them by `set local`. Start-up
options would do so for a session, but connection poolers refuse or ignore them, and a session's
SET would stay in a pooled connection, which the application uses next.
"""

from typing import LiteralString

import psycopg
from psycopg import sql

from pipeline.errors import InvalidSettings
from pipeline.printing import PRINTING

SETTINGS = {
    **PRINTING,
    "client_encoding": "UTF8",
    "xmlbinary": "base64",
    "xmloption": "content",
    # What a query shows. Row security that would hide rows is an error instead.
    "default_transaction_deferrable": "off",
    "exit_on_error": "off",
    "gin_fuzzy_search_limit": "0",
    "restrict_nonsystem_relation_kind": "",
    "row_security": "off",
    # A function of public whose arguments fit better is called instead of the server's (PostgreSQL
    # documentation, "Function Type Resolution"). So a statement names the schema of each function
    # that converts its arguments or takes any type. Temporary tables and types, which others may
    # have made in a pooled session, are first unless the path has them.
    "search_path": "pg_catalog, public, pg_temp",
    "stats_fetch_consistency": "cache",
    "transaction_read_only": "on",
    # How long it may take.
    "client_connection_check_interval": "0",
    "enable_seqscan": "on",
    "enable_tidscan": "on",
    "idle_in_transaction_session_timeout": "15min",
    "idle_session_timeout": "0",
    "lock_timeout": "10s",
    "statement_timeout": "10min",
    "tcp_user_timeout": "0",
    "transaction_timeout": "0",
}
"""The settings, as far as the server's version has them."""
_HIDE_ROWS = ("ignore_checksum_failure", "zero_damaged_pages")
"""Settings that skip damaged rows, which then look deleted. Only a superuser can change them."""

SERVER: LiteralString = (
    "select system_identifier::text || ' ' || extract(epoch from pg_postmaster_start_time())::text "
    "from pg_control_system()"
)
"""The query for a server's identity. A standby or a copy has another one than its origin."""


def set_local() -> str:
    """Returns the statement that applies the settings to the open transaction."""
    # A version of the server knows only some. Its view of all that it knows takes 1 ms to read.
    pairs = sql.SQL(", ").join(
        sql.SQL("({}, {})").format(sql.Literal(name), sql.Literal(value))
        for name, value in SETTINGS.items()
    )
    statement = sql.SQL(
        "select pg_catalog.set_config(name, value, true) from (values {}) as wanted (name, value) "
        "where pg_catalog.current_setting(name, true) is not null"
    )
    return statement.format(pairs).as_string()


def begin(connection: psycopg.Connection) -> None:
    """Begins a transaction of one snapshot with the settings."""
    connection.execute("begin isolation level repeatable read read only")
    connection.execute(set_local().encode())


def hiding(connection: psycopg.Connection) -> dict[str, str]:
    """Returns the settings by which the server skips damaged rows, with where each was made."""
    found = connection.execute(
        "select name, source from pg_settings where name = any (%s) and setting = 'on'",
        [list(_HIDE_ROWS)],
    )
    return dict(found.fetchall())


def refuse_hidden_rows(connection: psycopg.Connection) -> None:
    """Fails if the server is set to skip damaged rows.

    Raises:
        InvalidSettings: It is.
    """
    if names := hiding(connection):
        raise InvalidSettings(
            f"the source skips damaged rows ({', '.join(names)}), which would count as deleted: "
            "switch that off for its server, database and role"
        )


def server_of(connection: psycopg.Connection) -> str:
    """Returns the identity of a connection's server."""
    row = connection.execute(SERVER).fetchone()
    assert row is not None  # noqa: S101 - a server has one control file  # nosec B101
    return str(row[0])


def refuse_other_server(expected: str, found: str) -> None:
    """Fails if a reader talks to another server than the one that gave the snapshot.

    Raises:
        InvalidSettings: The servers differ.
    """
    if found != expected:
        raise InvalidSettings(
            "the source's host leads to several servers, and a run has to read from one: give its "
            "secret the address of one server instead of a reader endpoint or a load balancer"
        )
