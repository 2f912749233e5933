select
    currency_code as currency,
    currency_name,
    pg_catalog.sum(counted)::bigint as counted,
    pg_catalog.sum(units)::bigint as units,
    pg_catalog.sum(amount) as amount
from cells
join dim_currency using (currency_id)
where day is not null
group by 1, 2
order by currency
