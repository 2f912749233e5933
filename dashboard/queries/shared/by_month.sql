select
    pg_catalog.to_char(day, 'YYYY-MM') as label,
    currency_code as currency,
    pg_catalog.sum(counted)::bigint as counted,
    pg_catalog.sum(amount) as amount
from cells
join dim_currency using (currency_id)
where day is not null
group by 1, 2
order by 1, 2
