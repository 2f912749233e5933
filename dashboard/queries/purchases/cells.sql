select
    currency_id,
    created_date as day,
    counterparty_id,
    staff_id,
    count(*) as counted,
    sum(units) as units,
    sum(amount) as amount
from purchases
group by
    currency_id,
    grouping sets (
        created_date,
        (counterparty_id, staff_id)
    )
