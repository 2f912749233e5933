"""Previews and full extracts of the warehouse's star tables, by AWS SDK for pandas."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import awswrangler as wr
import pg8000

from lambdas.publish.s3_upload import s3_upload
from pipeline.errors import DatabaseRefused, PipelineError, WarehouseUnavailable
from star_schema.tables import star_tables

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient

_PREVIEWED_ROWS = 10
_UNAVAILABLE = ("08", "53", "57")
"""Classes of SQLSTATE: connection exception, insufficient resources, operator intervention."""
_TABLES = (
    "select table_name from information_schema.tables where table_schema = current_schema() "
    "and table_type = 'BASE TABLE' and table_name = any (%s) order by table_name"
)


@contextmanager
def connect(
    secret_arn: str, ssl_mode: str, client: "SecretsManagerClient"
) -> Iterator[pg8000.Connection]:
    """Opens a connection to the warehouse by the driver that AWS SDK for pandas works with.

    All that it reads is of one instant, whatever is loaded meanwhile.

    Raises:
        WarehouseUnavailable: The warehouse cannot be reached, or dropped the connection.
        DatabaseRefused: It refuses the credentials or a statement.
    """
    secret: dict[str, Any] = json.loads(
        client.get_secret_value(SecretId=secret_arn)["SecretString"]
    )
    host = str(secret["host"])
    port = int(secret.get("port", 5432))
    mode = secret.get("sslmode", ssl_mode)
    is_socket = host.startswith("/")
    try:
        with pg8000.connect(
            user=secret["username"],
            password=secret.get("password"),
            database=secret["dbname"],
            host=None if is_socket else host,
            port=port,
            unix_sock=f"{host}/.s.PGSQL.{port}" if is_socket else None,
            ssl_context=None if is_socket else _ssl_context(mode),
        ) as connection:
            connection.cursor().execute(
                "set transaction isolation level repeatable read, read only"
            )
            yield connection
    except pg8000.Error as error:
        raise _translated(error) from error


def _translated(error: pg8000.Error) -> PipelineError:
    """Returns the pipeline's error for one of pg8000's, which hold PostgreSQL's own fields."""
    fields = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    reason = fields.get("M", str(error))
    if not fields or fields["C"].startswith(_UNAVAILABLE):
        return WarehouseUnavailable(f"the warehouse database cannot be reached: {reason}")
    return DatabaseRefused(f"the warehouse database refused: {reason}")


def _ssl_context(mode: str) -> ssl.SSLContext | None:
    if mode in ("disable", "prefer"):
        return None
    context = ssl.create_default_context()
    if mode != "verify-full":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _tables(connection: pg8000.Connection) -> list[str]:
    """Returns the names of the star tables that the warehouse has."""
    cursor = connection.cursor()
    cursor.execute(_TABLES, ([star.name for star in star_tables()],))
    return [str(row[0]) for row in cursor.fetchall()]


def previews(connection: pg8000.Connection) -> dict[str, list[str]]:
    """Returns the first rows of each star table as JSON lines."""
    return {
        table: wr.postgresql.read_sql_query(
            f'select * from "{table}" order by 1 limit {_PREVIEWED_ROWS}',  # noqa: S608  # nosec B608
            connection,
        )
        .to_json(orient="records", lines=True, date_format="iso", default_handler=str)
        .strip()
        .splitlines()
        for table in _tables(connection)
    }


def write_extracts(connection: pg8000.Connection, bucket: str, client: "S3Client") -> list[str]:
    """Writes each star table to `extracts/<table>.csv`, and returns the files' addresses.

    The rows are PostgreSQL's own CSV: numbers have their digits, and an empty string ("") is no
    null (nothing at all). A data frame would keep neither, and holds a whole table in memory, as
    AWS SDK for pandas does with a file that it uploads.

    Raises:
        ObjectStoreUnavailable: Amazon S3 did not take a file; the one before is still there.
    """
    written: list[str] = []
    for table in _tables(connection):
        key = f"extracts/{table}.csv"
        with s3_upload(bucket, key, client) as upload:
            connection.cursor().execute(
                f'copy (select * from "{table}" order by 1) '  # noqa: S608  # nosec B608
                "to stdout with (format csv, header)",
                stream=upload,
            )
        written.append(f"s3://{bucket}/{key}")
    return written
