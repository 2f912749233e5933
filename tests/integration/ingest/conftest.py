"""An empty source with its raw zone, and the roles that read it."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from lambdas.ingest.session import SETTINGS
from local.postgres import PostgresServer
from tests.fixtures.postgres import fast_login
from tests.integration.ingest.ingestion import Encoded, Ingestion

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_READER_RIGHTS: tuple[LiteralString, ...] = (
    "grant usage on schema public to {}",
    "grant select on all tables in schema public to {}",
    "alter default privileges in schema public grant select on tables to {}",
)


@pytest.fixture(scope="package", autouse=True)
def cheap_connections(postgres_server: PostgresServer) -> Iterator[None]:
    """Thousands of connections, none of them of pg8000."""
    with fast_login(postgres_server):
        yield


@pytest.fixture
def ingestion(source_dsn: str, raw_bucket: str, s3: "S3Client") -> Ingestion:
    """Ingests of an empty source."""
    return Ingestion(source_dsn, raw_bucket, s3)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has an Ingest wait for a lock a tenth of a second instead of ten."""
    monkeypatch.setitem(SETTINGS, "lock_timeout", "100ms")


@pytest.fixture
def encoded(ingestion: Ingestion, postgres_server: PostgresServer) -> Encoded:
    """Makes a source of another encoding."""

    @contextmanager
    def make(encoding: str) -> Iterator[Ingestion]:
        with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
            connection.execute(
                f"create database encoded encoding '{encoding}' template template0 "
                "locale_provider libc locale 'C'".encode()
            )
        dsn = make_conninfo(postgres_server.dsn("encoded"), client_encoding="utf8")
        try:
            yield replace(ingestion, dsn=dsn)
        finally:
            postgres_server.drop_database("encoded")

    return make


@pytest.fixture
def new_role(source_dsn: str) -> Iterator[Callable[[tuple[LiteralString, ...]], str]]:
    """Makes roles of the source with some rights; gives the source's address for them."""
    made: list[sql.Identifier] = []

    def make(rights: tuple[LiteralString, ...]) -> str:
        name = f"role_{uuid.uuid4().hex[:12]}"
        made.append(sql.Identifier(name))
        with psycopg.connect(source_dsn) as connection:
            connection.execute(sql.SQL("create role {} login password 'secret'").format(made[-1]))
            for right in rights:
                connection.execute(sql.SQL(right).format(made[-1]))
        return make_conninfo(source_dsn, user=name, password="secret")

    yield make
    with psycopg.connect(source_dsn) as connection:
        for role in made:
            connection.execute(sql.SQL("drop owned by {}").format(role))
            connection.execute(sql.SQL("drop role {}").format(role))


@pytest.fixture
def reader_dsn(new_role: Callable[[tuple[LiteralString, ...]], str]) -> str:
    """The source for a role that has the rights of docs/operations.md and no others."""
    return new_role(_READER_RIGHTS)


@pytest.fixture
def blind_dsn(new_role: Callable[[tuple[LiteralString, ...]], str]) -> str:
    """The source for a role that may read no table."""
    return new_role(())
