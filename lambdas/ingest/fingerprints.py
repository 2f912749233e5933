"""Counts and exact sums of the source's tables, in the run's own snapshot.

`verify` holds them against the warehouse: docs/operations.md.
"""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from lambdas.ingest.discovery import SourceTable

_SUMMED = ("smallint", "integer", "bigint", "numeric")


@dataclass(frozen=True)
class Fingerprint:
    """What a table adds up to.

    Attributes:
        rows: The number of rows.
        sums: The exact sum of each integer and numeric column, as text, nulls left out.
    """

    rows: int
    sums: dict[str, str]


def fingerprint(connection: psycopg.Connection, table: SourceTable) -> Fingerprint:
    """Returns the fingerprint of a table inside the connection's snapshot."""
    summed = [
        column.name for column in table.columns if column.source_type.split("(")[0] in _SUMMED
    ]
    expressions = [sql.SQL("count(*)")] + [
        sql.SQL("coalesce(sum({}::numeric), 0)::text").format(sql.Identifier(name))
        for name in summed
    ]
    row = connection.execute(
        sql.SQL("select {} from {}").format(sql.SQL(", ").join(expressions), table.identifier)
    ).fetchone()
    assert row is not None  # noqa: S101 - an aggregate gives one row  # nosec B101
    return Fingerprint(rows=row[0], sums=dict(zip(summed, row[1:], strict=True)))
