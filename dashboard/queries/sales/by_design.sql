select
    design_id as id,
    design_name || ' #' || design_id as label,
    currency_code as currency,
    pg_catalog.sum(counted)::bigint as counted,
    pg_catalog.sum(amount) as amount
from cells
join dim_design using (design_id)
join dim_currency using (currency_id)
group by 1, 2, 3
order by label, id, currency
