"""Transaction ids: xid8 in manifests and snapshots, their lower 32 bits in row versions."""

from collections.abc import Iterable

from psycopg import sql

CAPTURED_TRANSACTIONS = 1000
"""How many transactions a capture stores. The rows of further transactions come again."""
COMPARABLE_TRANSACTIONS = 2**31
_TRANSACTION_WRAP = 2**32


def written_since(horizon: int, captured: tuple[int, ...] = ()) -> sql.Composable:
    """Returns the condition for row versions whose `xmin` is at or above a horizon.

    The age of a frozen row version that is more than 2^31 transactions old is negative.

    Args:
        horizon: The horizon (xid8).
        captured: Transactions (xid8) whose row versions are left out.
    """
    since = sql.SQL(
        "pg_catalog.age(xmin) <= pg_catalog.age({}::xid) and pg_catalog.age(xmin) >= 0"
    ).format(sql.Literal(_short_transaction(horizon)))
    if not captured:
        return sql.SQL("({})").format(since)
    left_out = sql.Literal(f"{{{','.join(map(_short_transaction, captured))}}}")
    return sql.SQL("({} and not xmin = any({}::xid[]))").format(since, left_out)


def bounded(transactions: Iterable[int]) -> tuple[int, ...]:
    """Returns as many of some transactions as a capture stores."""
    return tuple(sorted(transactions)[:CAPTURED_TRANSACTIONS])


def full_transaction(text: str, horizon: int) -> int:
    """Returns the transaction id (xid8) of a row version at or above a horizon."""
    return horizon + (int(text) - horizon) % _TRANSACTION_WRAP


def _short_transaction(transaction: int) -> str:
    """Returns the 32 bits of a transaction id (xid8) that row versions carry."""
    return str(transaction % _TRANSACTION_WRAP)
