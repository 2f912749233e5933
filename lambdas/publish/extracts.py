"""Previews and full extracts of the warehouse's star tables, by AWS SDK for pandas."""

from typing import TYPE_CHECKING

import awswrangler as wr
import pg8000

from lambdas.publish.s3_upload import s3_upload
from star_schema.tables import star_tables

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_PREVIEWED_ROWS = 10
# The rows of a partitioned table are in its partitions. Tables that inherit from another are not
# the pipeline's.
_TABLES = (
    "select relname::text, "
    "case relkind when 'r' then 'only ' else '' end || pg_catalog.quote_ident(relname) "
    "from pg_class where relnamespace = pg_catalog.quote_ident(current_schema())::regnamespace "
    "and relkind in ('r', 'p') and relname = any (%s) order by relname"
)


def _tables(connection: pg8000.Connection) -> dict[str, str]:
    """Returns each star table that the warehouse has, as a FROM clause names it, by its name."""
    cursor = connection.cursor()
    cursor.execute(_TABLES, ([star.name for star in star_tables()],))
    return dict(cursor.fetchall())


def previews(connection: pg8000.Connection) -> dict[str, list[str]]:
    """Returns the first rows of each star table as JSON lines."""
    return {
        table: wr.postgresql.read_sql_query(
            f"select * from {rows} order by 1 limit {_PREVIEWED_ROWS}",  # noqa: S608  # nosec B608
            connection,
        )
        .to_json(orient="records", lines=True, date_format="iso", default_handler=str)
        .strip()
        .splitlines()
        for table, rows in _tables(connection).items()
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
    for table, rows in _tables(connection).items():
        key = f"extracts/{table}.csv"
        with s3_upload(bucket, key, client) as upload:
            connection.cursor().execute(
                f"copy (select * from {rows} order by 1) "  # noqa: S608  # nosec B608
                "to stdout with (format csv, header)",
                stream=upload,
            )
        written.append(f"s3://{bucket}/{key}")
    return written
