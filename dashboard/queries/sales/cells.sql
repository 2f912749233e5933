select
    currency_id,
    created_date as day,
    counterparty_id,
    staff_id,
    design_id,
    count(*) as counted,
    pg_catalog.sum(units) as units,
    pg_catalog.sum(amount) as amount
from sales
group by
    currency_id,
    grouping sets (
        created_date,
        (counterparty_id, staff_id),
        design_id
    )
