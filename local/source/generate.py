"""Creates the source database: its tables, and rows like those of the real business.

The server generates the rows, table by table, from a hash of the seed and the row's number. The
same seed and scale give the same rows at any time.
"""

from importlib import resources

import psycopg

_SEEDED = """
create function pg_temp.draw(row_number bigint, purpose text, bound bigint) returns bigint
language sql immutable as $$
    select abs(hashtextextended(purpose || ':' || row_number, {seed})) % bound
$$
"""

_IDENTITIES = """
select setval(pg_get_serial_sequence(table_name, table_name || '_id'), greatest(last, 1))
from (
    select 'design' as table_name, (select max(design_id) from design) as last
    union all select 'sales_order', (select max(sales_order_id) from sales_order)
    union all select 'purchase_order', (select max(purchase_order_id) from purchase_order)
) as identities;
"""
_SALES_ORDERS = 5000
_PURCHASE_ORDERS = 2200


def create_and_fill(dsn: str, *, scale: float = 1.0, seed: int = 1) -> None:
    """Creates the source's tables in an empty database and fills them.

    Args:
        dsn: The database.
        scale: Orders relative to the real business's 5,000 sales and 2,200 purchases.
        seed: Another seed gives another business.
    """
    with psycopg.connect(dsn) as connection:
        connection.execute(_sql("schema"))
        connection.execute(_SEEDED.format(seed=int(seed)).encode())
        connection.execute(_sql("reference_rows"))
        connection.execute(
            _sql(
                "orders",
                seed=int(seed),
                sales=max(1, round(_SALES_ORDERS * scale)),
                purchases=max(1, round(_PURCHASE_ORDERS * scale)),
            )
        )
        connection.execute(_IDENTITIES.encode())


def _sql(name: str, **numbers: int) -> bytes:
    text = (resources.files("local.source") / f"{name}.sql").read_text(encoding="utf-8")
    return (text.format(**numbers) if numbers else text).encode()
