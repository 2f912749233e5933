select
    age as id,
    (
        array[
            'not yet due',
            '1 to 30 days',
            '31 to 90 days',
            '91 to 180 days',
            '181 to 365 days',
            '1 to 2 years',
            'over 2 years'
        ]
    )[age + 1] as label,
    currency_code as currency,
    pg_catalog.sum(counted)::bigint as counted,
    pg_catalog.sum(amount) as amount
from cells
join dim_currency using (currency_id)
cross join lateral pg_catalog.width_bucket(
    %(reference)s::date - day,
    array[1, 31, 91, 181, 366, 731]
) as age
where not paid
group by 1, 2, 3
order by id, currency
