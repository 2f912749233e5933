"""What a view of the warehouse shows, against the statement that says what it should show."""

from typing import LiteralString

import psycopg
from psycopg import sql

_WRONG: LiteralString = """
with wanted as ({wanted}),
shown as ({shown})
select count(*)
from (
    (select * from wanted except all select * from shown)
    union all
    (select * from shown except all select * from wanted)
) as wrong
"""


def wrong_rows(
    connection: psycopg.Connection, wanted: sql.Composable, shown: sql.Composable
) -> int:
    """Returns how many rows a view shows wrongly or not.

    Args:
        connection: The warehouse.
        wanted: The query of the rows that it should show.
        shown: The query of the rows that it shows, with the same columns.
    """
    row = connection.execute(sql.SQL(_WRONG).format(wanted=wanted, shown=shown)).fetchone()
    assert row is not None  # noqa: S101 - an aggregate gives one row  # nosec B101
    return int(row[0])
