"""The three drivers take one secret alike, and nothing that they raise shows its password."""

import io
import json
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import psycopg
import pyarrow.parquet as pq
import pytest
from aws_lambda_powertools import Logger
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from lambdas.ingest.chunks import Chunk
from lambdas.ingest.discovery import SourceTable
from lambdas.ingest.source_reader import SourceReader
from lambdas.publish.warehouse import connect as connect_pg8000
from pipeline.database import Database, Role, translated_errors
from pipeline.errors import (
    DatabaseRefused,
    PipelineError,
    SourceUnavailable,
    WarehouseUnavailable,
)
from pipeline.manifest import Column
from pipeline.secret import read_login
from pipeline.settings import DatabaseSettings
from tests.fixtures.proxy import Direction, Proxy
from tests.fixtures.tls import Authority, TlsProxy

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

PASSWORD = "wR0ng horse"
TESTS = str(Path(__file__).parents[2])
PASSWORDS = [
    "it's",
    '"quoted"',
    "back\\slash",
    "ends with a backslash\\",
    "two  words ",
    "50%s %(name)s",
    "{braces} $1 $name ${name}",
    "a=b&c;d--e/*f*/",
    "Ж€𝄞 ﬁ é",
    "'; select pg_sleep(9) --",
]

WHO_I_AM = SourceTable(
    oid=0,
    name="who_i_am",
    schema="public",
    relation="who_i_am",
    primary_key=(),
    columns=(Column("name", "text", "string"),),
)
"""A view of the source, as if it were a table."""

Secret = dict[str, object]
Use = Callable[[Secret], str]


@pytest.fixture
def secrets(moto_aws: None) -> "SecretsManagerClient":
    return boto3.client("secretsmanager")


@pytest.fixture
def secret(source_dsn: str) -> Secret:
    """How to reach a database, in the form that Amazon RDS writes."""
    with psycopg.connect(source_dsn) as connection:
        connection.execute("create view who_i_am as select current_user::text as name")
        connection.execute("grant select on who_i_am to public")
    address = dict(conninfo_to_dict(source_dsn))
    return {"username": address.pop("user"), "sslmode": "disable", **address}


@pytest.fixture(params=["psycopg", "pg8000", "duckdb"])
def use(
    request: pytest.FixtureRequest,
    secrets: "SecretsManagerClient",
    source_dsn: str,
    tmp_path: Path,
) -> Use:
    """Connects by a secret, and returns who it is that the server sees."""

    def settings(secret: Secret) -> DatabaseSettings:
        arn = secrets.create_secret(Name=uuid.uuid4().hex, SecretString=json.dumps(secret))["ARN"]
        return DatabaseSettings(arn)

    def by_psycopg(secret: Secret) -> str:
        with (
            translated_errors(Role.SOURCE),
            Database(Role.SOURCE, settings(secret)).connect(secrets) as connection,
        ):
            row = connection.execute("select name from who_i_am").fetchone()
            assert row is not None
            return str(row[0])

    def by_pg8000(secret: Secret) -> str:
        with connect_pg8000(settings(secret), secrets) as connection:
            cursor = connection.cursor()
            cursor.execute("select name from who_i_am")
            return str(cursor.fetchone()[0])

    def by_duckdb(secret: Secret) -> str:
        login = read_login("source", settings(secret), secrets)
        with psycopg.connect(source_dsn) as connection:
            connection.execute("set transaction isolation level repeatable read")
            row = connection.execute("select pg_export_snapshot()").fetchone()
            assert row is not None
            rows, values = tmp_path / "rows", tmp_path / "values"
            with SourceReader(login, row[0], tmp_path) as reader:
                chunk, everything = Chunk(0, None), sql.SQL("true")
                list(
                    reader.take_chunk(
                        WHO_I_AM, WHO_I_AM.columns, chunk, everything, path=rows, quarantine=values
                    )
                )
            return str(pq.read_table(rows).column("name")[0])

    uses: dict[str, Use] = {"psycopg": by_psycopg, "pg8000": by_pg8000, "duckdb": by_duckdb}
    return uses[request.param]


@pytest.fixture
def role(source_dsn: str) -> Iterator[str]:
    """A role without a password."""
    name = f"reader_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(source_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
        yield name
        connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def shown(error: BaseException) -> str:
    """Returns all that a log could show of an error: its chain, frames, their locals, as JSON."""
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    part: traceback.TracebackException | None = trace
    while part is not None:
        # The tests' own frames hold the password, as do those of what fails within a driver.
        part.stack = traceback.StackSummary.from_list(
            [frame for frame in part.stack if not frame.filename.startswith(TESTS)]
        )
        part = part.__cause__ or part.__context__
    log = io.StringIO()
    logger = Logger(service=uuid.uuid4().hex, stream=log, log_uncaught_exceptions=False)
    logger.error("failed", exc_info=error, extra={"arguments": repr(error.args)})
    return "".join(trace.format()) + log.getvalue() + str(error) + repr(error)


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_may_hold_any_character(
    use: Use, secret: Secret, role: str, source_dsn: str, password: str
) -> None:
    with psycopg.connect(source_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(password))
        )

    assert use({**secret, "username": role, "password": password}) == role


def test_a_password_that_pg8000_does_not_take_is_refused_with_words(
    secrets: "SecretsManagerClient", secret: Secret, role: str, source_dsn: str
) -> None:
    password = "two\nlines"
    with psycopg.connect(source_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(password))
        )
    own = {**secret, "username": role, "password": password}
    arn = secrets.create_secret(Name="own", SecretString=json.dumps(own))["ARN"]

    with (
        pytest.raises(DatabaseRefused, match="without control characters") as refused,
        connect_pg8000(DatabaseSettings(arn), secrets),
    ):
        pass

    assert password not in shown(refused.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, DatabaseRefused),
        ({"username": "nobody"}, DatabaseRefused),
        ({"host": "nowhere.invalid"}, (SourceUnavailable, WarehouseUnavailable)),
        ({"port": 1}, (SourceUnavailable, WarehouseUnavailable)),
        ({"host": "/nowhere"}, (SourceUnavailable, WarehouseUnavailable, DatabaseRefused)),
        ({"dbname": "nowhere"}, DatabaseRefused),
        ({"sslmode": "require"}, (DatabaseRefused, WarehouseUnavailable)),
        ({"sslmode": "verify-full"}, (DatabaseRefused, WarehouseUnavailable)),
        ({"sslmode": "verify-ca", "sslrootcert": "/nowhere"}, PipelineError),
        ({"options": "-c nonsense=on"}, PipelineError),
        ({"colour": "blue"}, PipelineError),
    ],
    ids=str,
)
def test_a_connection_that_fails_shows_no_password(
    use: Use, secret: Secret, change: Secret, expected: type[PipelineError]
) -> None:
    if use.__name__ == "by_duckdb":
        expected = PipelineError

    with pytest.raises(expected) as failed:
        use({**secret, "password": PASSWORD, **change})

    assert PASSWORD not in shown(failed.value)
    assert PASSWORD.replace(" ", "\\ ") not in shown(failed.value)


@pytest.mark.parametrize("direction", Direction)
def test_a_connection_that_is_cut_at_any_moment_shows_no_password(
    use: Use, secret: Secret, new_proxy: Callable[[int], Proxy], direction: Direction
) -> None:
    proxy = new_proxy(int(str(secret["port"])))
    proxied = {**secret, "port": proxy.port, "gssencmode": "disable"}
    if use.__name__ == "by_pg8000":
        del proxied["gssencmode"]
    proxy.cut_after(None)
    use(proxied)
    passed = proxy.passed[direction]

    for number in range(10):
        proxy.cut_after(passed * number // 10, direction)
        with pytest.raises(PipelineError) as failed:
            use(proxied)
        assert str(secret["password"]) not in shown(failed.value)


@pytest.mark.parametrize(
    ("host", "mode", "authority", "is_accepted"),
    [
        ("localhost", "require", None, True),
        ("localhost", "require", "own", True),
        ("localhost", "require", "other", False),
        ("127.0.0.1", "verify-ca", "own", True),
        ("localhost", "verify-ca", "other", False),
        ("localhost", "verify-ca", None, False),
        ("localhost", "verify-full", "own", True),
        ("127.0.0.1", "verify-full", "own", False),
        ("localhost", "verify-full", "other", False),
        ("localhost", "verify-full", None, False),
    ],
)
def test_tls_means_the_same_for_all_drivers(
    use: Use,
    secret: Secret,
    new_authority: Callable[[str], Authority],
    new_tls_proxy: Callable[[int, Authority], TlsProxy],
    host: str,
    mode: str,
    authority: str | None,
    is_accepted: bool,
) -> None:
    own, other = new_authority("own"), new_authority("other")
    proxy = new_tls_proxy(int(str(secret["port"])), own)
    over_tls = {**secret, "host": host, "port": proxy.port, "sslmode": mode}
    if authority:
        certificates = (own if authority == "own" else other).certificate.read_text()
        over_tls["sslrootcert"] = certificates

    if is_accepted:
        assert use(over_tls) == secret["username"]
    else:
        with pytest.raises(PipelineError, match=r"certificate|localhost") as refused:
            use(over_tls)
        assert str(secret["password"]) not in shown(refused.value)
