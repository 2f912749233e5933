"""Faults of servers: poolers, standbys, TLS. AWS gives the answers of a stack without faults."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from doctor.finding import Finding, Status
from lambdas.ingest import open_transactions
from local.postgres import PostgresServer
from tests.fixtures.pooler import Options, Pooler
from tests.fixtures.postgres import running_server
from tests.fixtures.tls import Authority, TlsProxy
from tests.unit.doctor.answers import VARIABLES, look


@pytest.fixture(scope="module")
def other_server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """Another server than the tests' own one, with the same password."""
    password = str(conninfo_to_dict(postgres_server.dsn())["password"])
    with running_server("doctor", {"fsync": "off"}) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(f"alter role postgres password '{password}'".encode())
        (server.log.parent / "password").write_text(password)
        yield server


def seen(check: str, dsn: str, *, ssl_mode: str = "prefer", **keywords: object) -> Finding:
    """Makes a check of a stack whose databases are both one database."""
    given: dict[str, Any] = {**conninfo_to_dict(dsn), **keywords}
    given["username"] = given.pop("user")
    variables = {**VARIABLES, "DATABASE_SSL_MODE": ssl_mode}
    return look(
        check,
        {
            "secretsmanager.GetSecretValue": {"SecretString": json.dumps(given)},
            "lambda.GetFunctionConfiguration": {"Environment": {"Variables": variables}},
            "rds.DescribeDBInstances": {"DBInstances": []},
            "s3.ListObjectsV2": {"Contents": []},
        },
    )


def named(finding: Finding) -> str:
    assert finding.status is Status.FAULT, finding
    return finding.fixes[0]


def port_of(dsn: str) -> int:
    return int(str(conninfo_to_dict(dsn)["port"]))


@pytest.mark.parametrize("options", [*Options])
def test_a_pooler_before_the_warehouse_is_a_fault(
    options: Options, warehouse_dsn: str, new_pooler: Callable[..., Pooler]
) -> None:
    pooler = new_pooler(options, port_of(warehouse_dsn))

    fix = named(seen("warehouse.reachable", warehouse_dsn, port=pooler.port))

    assert fix.startswith("aws secretsmanager put-secret-value ")


def test_a_source_that_is_several_servers_is_a_fault(
    source_dsn: str, other_server: PostgresServer, new_pooler: Callable[..., Pooler]
) -> None:
    assert seen("source.one_server", source_dsn).status is Status.OK
    other = other_server.create_database(str(conninfo_to_dict(source_dsn)["dbname"]))
    pooler = new_pooler(Options.DROPPED, port_of(source_dsn), port_of(other))

    fix = named(seen("source.one_server", source_dsn, port=pooler.port))

    assert "# with the address of one server" in fix


def test_a_certificate_of_an_unknown_authority_is_a_fault(
    source_dsn: str,
    new_authority: Callable[[str], Authority],
    new_tls_proxy: Callable[[int, Authority], TlsProxy],
) -> None:
    own, other = new_authority("own"), new_authority("other")
    proxy = new_tls_proxy(port_of(source_dsn), own)

    def by(check: str, authority: Authority) -> Finding:
        at = {"host": "localhost", "port": proxy.port, "sslrootcert": str(authority.certificate)}
        return seen(check, source_dsn, ssl_mode="verify-full", **at)

    trusting, fix = by("source.tls", own), named(by("source.reachable", other))

    assert trusting.status is Status.OK, trusting
    assert '# with "sslrootcert": the authority\'s certificate' in fix


def test_a_server_without_tls_is_a_fault(source_dsn: str) -> None:
    assert named(seen("source.reachable", source_dsn, ssl_mode="verify-full")).startswith(
        "alter system set ssl = on;"
    )
    assert named(seen("source.tls_forced", source_dsn)).startswith("host → hostssl")


def test_a_role_without_free_connections_is_a_fault(source_dsn: str) -> None:
    with psycopg.connect(source_dsn, autocommit=True) as connection:
        connection.execute("create role full_reader login password 'kept' connection limit 0")
        try:
            fix = named(seen("source.reachable", source_dsn, user="full_reader", password="kept"))
            connection.execute(fix.encode())
            found = seen("source.reachable", source_dsn, user="full_reader", password="kept")
        finally:
            connection.execute("drop role full_reader")

    assert fix == 'alter role "full_reader" connection limit -1;'
    assert found.status is Status.OK


def test_the_source_s_catalogue_is_read_whatever_the_search_path_has(source_dsn: str) -> None:
    with psycopg.connect(source_dsn, autocommit=True) as connection:
        connection.execute("create schema mine; create view mine.pg_namespace as select 1 as oid")
        name = str(conninfo_to_dict(source_dsn)["dbname"])
        connection.execute(f"alter database {name} set search_path = mine, pg_catalog".encode())

    assert seen("source.usage", source_dsn).status is Status.OK


def test_a_prepared_transaction_is_named_with_the_statement_that_ends_it(
    source_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_transactions, "LONG", open_transactions.LONG * 0)
    with psycopg.connect(source_dsn, autocommit=True) as connection:
        for statement in ("begin", "create table held ()", "prepare transaction 'left'"):
            connection.execute(statement.encode())
        connection.execute("select pg_current_xact_id()")

        fix = named(seen("source.open_transaction", source_dsn))

        assert fix == "rollback prepared 'left';"
        connection.execute(fix.encode())
        assert seen("source.open_transaction", source_dsn).status is Status.OK


def test_a_standby_as_the_source_or_as_the_warehouse_is_a_fault(
    other_server: PostgresServer,
) -> None:
    dsn = other_server.dsn()
    assert seen("source.standby", dsn).status is Status.OK
    other_server.stop()
    signal = other_server.log.parent / "data" / "standby.signal"
    signal.touch()
    other_server.start()
    try:
        dsn = other_server.dsn()
        feedback = named(seen("source.standby", dsn))
        primary = named(seen("warehouse.primary", dsn))
        others = [
            seen(f"source.{name}", dsn).status
            for name in ("reachable", "room", "version", "counters", "usage", "select", "slots")
        ]
    finally:
        other_server.stop()
        signal.unlink()
        other_server.start()

    assert feedback.startswith("alter system set hot_standby_feedback = on;")
    assert "# with the primary server's address" in primary
    assert others == [Status.OK] * 6 + [Status.NOT_APPLICABLE]
