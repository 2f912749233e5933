"""Previews and full extracts of the warehouse's star tables, by AWS SDK for pandas."""

from typing import TYPE_CHECKING

import awswrangler as wr
import pg8000

from lambdas.publish.s3_upload import s3_upload
from star_schema.tables import star_tables

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_PREVIEWED_ROWS = 10
_TABLES = (
    "select table_name from information_schema.tables where table_schema = current_schema() "
    "and table_type = 'BASE TABLE' and table_name = any (%s) order by table_name"
)


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
