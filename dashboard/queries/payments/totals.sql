select
    currency_code as currency,
    currency_name,
    pg_catalog.sum(counted)::bigint as counted,
    (coalesce(pg_catalog.sum(counted) filter (where not paid), 0))::bigint as unpaid,
    coalesce(pg_catalog.sum(amount) filter (where not paid), 0) as unpaid_amount,
    pg_catalog.sum(amount) as amount
from cells
join dim_currency using (currency_id)
where day is not null
group by 1, 2
order by currency
