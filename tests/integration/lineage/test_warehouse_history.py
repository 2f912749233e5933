"""Which load wrote a row is told by transaction ids, of which there are 2^32."""

import psycopg
from psycopg import sql

from lineage.warehouse_history import AGE


def test_an_older_transaction_has_a_greater_age_however_old_it_is(warehouse_dsn: str) -> None:
    ago = [0, 1, 1000, 2**31 - 1, 2**31 + 1, 2**32 - 4]
    query = sql.SQL("select {} from unnest(%s::text[]::xid[]) as row (xmin)").format(AGE)
    with psycopg.connect(warehouse_dsn) as connection:
        (now,) = connection.execute("select pg_current_xact_id()::text::bigint").fetchone() or (0,)
        ids = [str((now - number) % 2**32) for number in ago]
        ages = connection.execute(query, [ids]).fetchall()
    assert len(ages) == len(ago)
    assert ages == sorted(set(ages))
