select
    currency_code as currency,
    currency_name,
    sum(counted)::bigint as counted,
    sum(units)::bigint as units,
    sum(amount) as amount
from cells
join dim_currency using (currency_id)
where day is not null
group by 1, 2
order by currency
