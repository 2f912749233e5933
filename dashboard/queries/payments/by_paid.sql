select
    paid as id,
    case when paid then 'paid' else 'unpaid' end as label,
    currency_code as currency,
    pg_catalog.sum(counted)::bigint as counted,
    pg_catalog.sum(amount) as amount
from cells
join dim_currency using (currency_id)
where day is not null
group by 1, 2, 3
order by label, currency
