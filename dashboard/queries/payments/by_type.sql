select
    payment_type_id as id,
    payment_type_name as label,
    currency_code as currency,
    pg_catalog.sum(counted)::bigint as counted,
    pg_catalog.sum(amount) as amount
from cells
join dim_payment_type using (payment_type_id)
join dim_currency using (currency_id)
group by 1, 2, 3
order by label, id, currency
