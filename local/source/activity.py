"""Changes in the source: new orders, payments, corrections, silent edits and deletions."""

from dataclasses import dataclass
from typing import LiteralString

import psycopg

_NEW_SALES_ORDERS: LiteralString = """
with orders as (
    insert into sales_order (design_id, staff_id, counterparty_id, units_sold, unit_price,
        currency_id, agreed_delivery_date, agreed_payment_date, agreed_delivery_location_id)
    select design_id, staff_id, counterparty_id, units_sold + 1, unit_price, currency_id,
        agreed_delivery_date, agreed_payment_date, agreed_delivery_location_id
    from sales_order order by sales_order_id desc limit %(orders)s
    returning *
), transactions as (
    insert into transaction (transaction_type, sales_order_id)
    select 'SALE', sales_order_id from orders returning *
)
insert into payment (transaction_id, counterparty_id, payment_amount, currency_id,
    payment_type_id, paid, payment_date, company_ac_number, counterparty_ac_number)
select transaction_id, counterparty_id, units_sold * unit_price, currency_id, 1, false,
    agreed_payment_date, 12345678, 87654321
from transactions join orders using (sales_order_id)"""
_STEPS = {
    "payments_turned_paid": """
update payment set paid = true, last_updated = current_timestamp
where payment_id in (select payment_id from payment where not paid order by payment_id limit 25)""",
    "silent_edits": """
update sales_order set staff_id = 1 + staff_id % 20
where sales_order_id in (select sales_order_id from sales_order order by sales_order_id limit 3)""",
    "departments_renamed": """
update department set department_name = department_name || ' & Co', last_updated = current_timestamp
where department_id = (select min(department_id) from department)""",
    "addresses_corrected": """
update address set postal_code = lpad((postal_code::bigint % 99998 + 1)::text, 5, '0'),
    last_updated = current_timestamp
where address_id = (select min(address_id) from address)""",
    "payments_deleted": """
delete from payment where payment_id = (
    select min(payment_id) from payment join transaction using (transaction_id)
    where sales_order_id is not null
)""",
    "orders_deleted": """
with gone as (
    delete from transaction where transaction_id in (
        select transaction_id from transaction
        where sales_order_id is not null
            and not exists (
                select from payment where payment.transaction_id = transaction.transaction_id
            )
        order by transaction_id limit 1
    ) returning sales_order_id
)
delete from sales_order using gone where sales_order.sales_order_id = gone.sales_order_id""",
    "new_designs": """
insert into design (design_name, file_location, file_name)
select 'Tote "' || count(*) || '"', '/usr/local/src', 'tote-' || count(*) || '.json' from design""",
}


@dataclass(frozen=True)
class ActivitySummary:
    """The number of rows that each kind of change affected."""

    rows: dict[str, int]


def run_activity(dsn: str) -> ActivitySummary:
    """Makes one set of changes, each kind in its own transaction."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return ActivitySummary(
            {"new_sales_orders": new_sales_orders(connection, 12)}
            | {name: connection.execute(step.encode()).rowcount for name, step in _STEPS.items()}
        )


def new_sales_orders(connection: psycopg.Connection, orders: int) -> int:
    """Adds sales orders, each with its transaction and its payment; returns their number."""
    return connection.execute(_NEW_SALES_ORDERS, {"orders": orders}).rowcount
