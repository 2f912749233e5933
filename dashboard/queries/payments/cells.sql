select
    year * 100 + month as month,
    currency_id,
    counterparty_id,
    payment_type_id,
    paid,
    count(*) as counted,
    sum(amount) as amount
from payments
join dim_date on date_id = payment_date
group by 1, 2, 3, 4, 5
