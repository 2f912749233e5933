select
    year * 100 + month as month,
    currency_id,
    counterparty_id,
    staff_id,
    count(*) as counted,
    sum(units) as units,
    sum(amount) as amount
from sales
join dim_date on date_id = created_date
group by 1, 2, 3, 4
