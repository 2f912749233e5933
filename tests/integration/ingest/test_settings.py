"""Settings of a role, a database or a server, and poolers before it, change nothing of a run."""

from collections.abc import Callable
from dataclasses import replace
from typing import LiteralString

import boto3
import psycopg
import pytest
from psycopg import errors as postgres
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lambdas.ingest.session import SETTINGS, begin
from local.postgres import PostgresServer
from pipeline.database import Database, Role, login_of
from pipeline.errors import InvalidSettings
from pipeline.settings import DatabaseSettings
from tests.fixtures.pooler import Options, Pooler
from tests.fixtures.postgres import running_server
from tests.integration.ingest.ingestion import Ingestion, not_taken
from tests.integration.load.invocation import put_secret

PERVERSE = {
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "client_connection_check_interval": "1s",
    "datestyle": "German",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "enable_seqscan": "off",
    "enable_tidscan": "off",
    "exit_on_error": "on",
    "extra_float_digits": "-15",
    "gin_fuzzy_search_limit": "1",
    "idle_in_transaction_session_timeout": "7s",
    "idle_session_timeout": "7s",
    "intervalstyle": "iso_8601",
    "lc_monetary": "C.UTF-8",
    "lc_numeric": "C.UTF-8",
    "lc_time": "C.UTF-8",
    "lock_timeout": "7s",
    "quote_all_identifiers": "on",
    "restrict_nonsystem_relation_kind": "view",
    "row_security": "on",
    "search_path": "mine, pg_catalog",
    "standard_conforming_strings": "off",
    "statement_timeout": "7s",
    "stats_fetch_consistency": "none",
    "tcp_user_timeout": "7s",
    "timezone": "Asia/Kolkata",
    "transaction_timeout": "7s",
    "transform_null_equals": "on",
    "xmlbinary": "hex",
    "xmloption": "document",
}
"""For each setting that a reader overrides, another value; a role cannot have transaction_*."""
SHADOWING: tuple[LiteralString, ...] = (
    "hashtextextended(text, integer) returns bigint language sql return 7",
    "num_nulls(variadic anyarray) returns integer language sql as 'select 7'",
    "array_to_string(text[], text) returns text language sql return '7'",
    "concat_ws(text, oid, tid, xid) returns text language sql return '7'",
    "unnest(bigint[]) returns setof bigint language sql as 'select 7::bigint'",
    "pg_table_size(oid) returns bigint language sql return 7",
    "pg_relation_size(oid) returns bigint language sql return 0",
)
"""Functions whose arguments fit better than those of the server's function of the same name."""
HARMLESS = (
    # What only writing, maintenance, DDL, new roles or a standby use.
    *("backend_flush_after", "check_function_bodies", "commit_", "createrole_", "default_table"),
    *("default_toast_compression", "file_copy_method", "gin_pending_list_limit", "icu_validation"),
    *("logical_decoding_work_mem", "maintenance_", "max_parallel_maintenance_workers"),
    *("password_encryption", "scram_iterations", "synchronous_commit", "temp_tablespaces"),
    *("vacuum_", "wal_", "debug_logical_replication"),
    # What only logs and messages show.
    *("application_name", "client_min_messages", "debug_pretty_print", "debug_print_"),
    *("escape_string_warning", "log_", "md5_password_warnings", "trace_"),
    # Which plan is chosen, not what it shows; plans of a scan by ctid are fixed above.
    *("constraint_exclusion", "cpu_", "cursor_tuple_fraction", "debug_parallel_query"),
    *("default_statistics_target", "effective_", "enable_", "from_collapse_limit", "geqo"),
    *("hash_mem_multiplier", "io_combine_limit", "jit", "join_collapse_limit", "max_parallel_"),
    *("min_parallel_", "parallel_", "plan_cache_mode", "random_page_cost", "recursive_"),
    *("seq_page_cost", "synchronize_seqscans", "temp_buffers", "work_mem"),
    # How values are read that no statement of ours holds.
    *("array_nulls", "backslash_quote", "default_text_search_config", "timezone_abbreviations"),
    # What `begin` says itself, and what detects a client that has gone.
    *("default_transaction_isolation", "default_transaction_read_only", "tcp_keepalives_"),
    *("transaction_deferrable", "transaction_isolation", "local_preload_libraries"),
)
"""Beginnings of the names of settings that change nothing of a run."""


@pytest.fixture
def values(ingestion: Ingestion) -> Ingestion:
    """A source with values whose text depends on settings."""
    ingestion.execute(
        "create type mood as enum ('sad', 'glad')",
        "create schema mine",
        "create table mine.a (id integer)",
        "create table a (id integer primary key, at timestamptz, span interval, bytes bytea, "
        "ratio double precision, price money, mood mood, pair point, day date[])",
        r"insert into a select n, '2024-03-01 05:06:07.8+00', '1 day 2 hours', '\x00ff', 0.1 + n, "
        r"1234.5, 'glad', '(0.1,2)', '{2024-03-01}' from generate_series(1, 9) as n",
    )
    return ingestion


def set_for_role(dsn: str, role: str, settings: dict[str, str]) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for name, value in settings.items():
            # A list of names is no single name.
            parts = value.split(", ") if name == "search_path" else [value]
            connection.execute(
                sql.SQL("alter role {} set {} to {}").format(
                    sql.Identifier(role),
                    sql.Identifier(name),
                    sql.SQL(", ").join(map(sql.Literal, parts)),
                )
            )


def test_every_setting_that_a_role_can_have_is_overridden_or_known_to_be_harmless(
    source_dsn: str,
) -> None:
    with psycopg.connect(source_dsn) as connection:
        names = connection.execute("select lower(name) from pg_settings where context = 'user'")

        unknown = [
            name for (name,) in names if name not in SETTINGS and not name.startswith(HARMLESS)
        ]

    assert unknown == []
    assert SETTINGS.keys() - PERVERSE.keys() == {"transaction_read_only"}


def test_a_transaction_has_the_settings_whatever_those_of_the_role(
    values: Ingestion, reader_dsn: str
) -> None:
    set_for_role(values.dsn, str(conninfo_to_dict(reader_dsn)["user"]), PERVERSE)

    with psycopg.connect(reader_dsn, autocommit=True) as connection:
        connection.execute("create temporary table pg_settings as select 'theirs' as name")
        begin(connection)
        rows = connection.execute(
            "select lower(name), current_setting(name) from pg_settings "
            "where lower(name) = any (%s)",
            [list(SETTINGS)],
        ).fetchall()
        connection.execute("commit")
        after = connection.execute("select current_setting('timezone')").fetchone()

    assert dict(rows) == SETTINGS
    assert after == (PERVERSE["timezone"],)


def test_a_run_reads_the_same_whatever_the_roles_settings_are(
    values: Ingestion, reader_dsn: str, new_bucket: Callable[[str], str]
) -> None:
    plain = replace(values, dsn=reader_dsn)
    plain.run()
    set_for_role(values.dsn, str(conninfo_to_dict(reader_dsn)["user"]), PERVERSE)
    disturbed = replace(plain, bucket=new_bucket("raw"))

    disturbed.run()

    assert disturbed.taken("a") == plain.taken("a")
    assert disturbed.manifest().tables["a"].columns == plain.manifest().tables["a"].columns
    assert not plain.run().warnings


@pytest.mark.parametrize("function", SHADOWING)
def test_a_function_of_the_source_is_not_called_instead_of_the_servers(
    ingestion: Ingestion, function: LiteralString
) -> None:
    ingestion.execute(
        f"create function public.{function}",
        "create table a (id integer primary key, span interval, day date)",
        "insert into a select n, '1 day', '2024-03-01' from generate_series(1, 3) as n",
        "insert into a values (4, '1 day', 'infinity')",
        "create table keyless (span interval)",
        "insert into keyless values ('2 days'), (null)",
    )
    first = ingestion.run()
    assert not_taken(first) == {}
    assert [(row["id"], row["span"]) for row in ingestion.taken("a")] == [
        (1, "1 day"),
        (2, "1 day"),
        (3, "1 day"),
    ]
    quarantined = ingestion.files(ingestion.manifest().tables["a"].quarantine_files)
    assert [row["column_name"] for row in quarantined] == ["day"]
    assert [row["span"] for row in ingestion.taken("keyless")] == ["2 days", None]
    ingestion.execute("delete from a where id = 1", "insert into a values (0, '5 days', null)")

    second = ingestion.run()

    assert not_taken(second) == {}
    assert [(row["id"], row["span"]) for row in ingestion.taken("a")] == [(0, "5 days")]
    assert sorted(row["id"] for row in ingestion.swept("a")) == [0, 2, 3, 4]


def test_a_policy_that_would_hide_rows_is_refused(ingestion: Ingestion, reader_dsn: str) -> None:
    ingestion.execute(
        "create table a (id integer)",
        "insert into a values (1)",
        "create policy nothing on a using (false)",
        "alter table a enable row level security",
    )

    with psycopg.connect(reader_dsn, autocommit=True) as connection:
        begin(connection)
        with pytest.raises(postgres.InsufficientPrivilege, match="row-level security"):
            connection.execute("select from a")


@pytest.mark.parametrize("setting", ["zero_damaged_pages", "ignore_checksum_failure"])
def test_a_server_that_skips_damaged_rows_is_refused(ingestion: Ingestion, setting: str) -> None:
    skipping = make_conninfo(ingestion.dsn, options=f"-c {setting}=on")

    with pytest.raises(InvalidSettings, match=f"skips damaged rows \\({setting}\\)"):
        ingestion.run(connect=lambda: psycopg.connect(skipping))


def test_changes_of_a_role_that_nothing_counts_are_seen(
    ingestion: Ingestion, reader_dsn: str
) -> None:
    role = str(conninfo_to_dict(reader_dsn)["user"])
    ingestion.execute(
        "create table a (id integer primary key, text text)",
        "insert into a select n, repeat('x', 1000) from generate_series(1, 3) as n",
    )
    set_for_role(ingestion.dsn, role, {"track_counts": "off"})
    with psycopg.connect(ingestion.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("grant update on a to {}").format(sql.Identifier(role)))
    ingestion.run()
    with psycopg.connect(reader_dsn) as connection:
        connection.execute("update a set text = '' where id = 1")

    result = ingestion.run()

    assert result.rows > 0


@pytest.mark.parametrize("options", Options)
def test_a_source_behind_a_pooler_is_read_as_without_it(
    values: Ingestion,
    new_pooler: Callable[..., Pooler],
    options: Options,
    new_bucket: Callable[[str], str],
) -> None:
    values.run()
    pooler = new_pooler(options, int(str(conninfo_to_dict(values.dsn)["port"])))
    settings = DatabaseSettings(put_secret(make_conninfo(values.dsn, port=pooler.port)), "disable")
    pooled = replace(values, bucket=new_bucket("raw"))
    database, secrets = Database(Role.SOURCE, settings), boto3.client("secretsmanager")

    pooled.run(connect=lambda: database.connect(secrets), readers=2)

    assert pooled.taken("a") == values.taken("a")


def test_a_source_of_several_servers_is_refused(
    ingestion: Ingestion,
    postgres_server: PostgresServer,
    new_pooler: Callable[..., Pooler],
) -> None:
    database = str(conninfo_to_dict(ingestion.dsn)["dbname"])
    ingestion.execute("create table a (id integer)", "insert into a values (1)")
    with running_server("other", {}) as other:
        other_dsn = conninfo_to_dict(other.create_database(database))
        own = conninfo_to_dict(ingestion.dsn)
        with psycopg.connect(other.create_database("spare"), autocommit=True) as connection:
            connection.execute(
                sql.SQL("alter role {} password {}").format(
                    sql.Identifier(str(own["user"])), sql.Literal(str(own["password"]))
                )
            )
        pooler = new_pooler(Options.DROPPED, int(str(own["port"])), int(str(other_dsn["port"])))
        balanced = replace(ingestion, dsn=make_conninfo(ingestion.dsn, port=pooler.port))

        with pytest.raises(InvalidSettings, match="several servers"):
            balanced.run()

    assert not ingestion.objects()


def test_a_reader_connects_to_the_address_of_the_connection_that_gave_the_snapshot(
    source_dsn: str,
) -> None:
    with psycopg.connect(make_conninfo(source_dsn, host="localhost")) as connection:
        login = login_of(connection)

    assert login.keywords["host"] == "localhost"
    assert login.keywords["hostaddr"] in {"127.0.0.1", "::1"}
