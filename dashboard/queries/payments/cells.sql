select
    currency_id,
    payment_date as day,
    paid,
    counterparty_id,
    payment_type_id,
    count(*) as counted,
    pg_catalog.sum(amount) as amount
from payments
group by
    currency_id,
    grouping sets (
        (payment_date, paid),
        (counterparty_id, payment_type_id)
    )
