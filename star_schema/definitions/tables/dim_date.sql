-- Every year between the first and the last that a fact mentions, in whole years. What dim_date
-- already covers counts as mentioned, so that the calendar only ever grows and has no gap.
with mentioned as (
    select
        _sequence,
        least(created_at, last_updated, cast(agreed_payment_date as date), cast(agreed_delivery_date as date)) as first_date,
        greatest(created_at, last_updated, cast(agreed_payment_date as date), cast(agreed_delivery_date as date)) as last_date
    from sales_order
    union all
    select
        _sequence,
        least(created_at, last_updated, cast(agreed_payment_date as date), cast(agreed_delivery_date as date)),
        greatest(created_at, last_updated, cast(agreed_payment_date as date), cast(agreed_delivery_date as date))
    from purchase_order
    union all
    select
        _sequence,
        least(created_at, last_updated, cast(payment_date as date)),
        greatest(created_at, last_updated, cast(payment_date as date))
    from payment
    union all
    select
        _sequence,
        date_id,
        date_id
    from dim_date
),
spans as (
    select
        _sequence,
        year(min(first_date)) as first_year,
        year(max(last_date)) as last_year
    from mentioned
    group by _sequence
),
covered as (
    select
        _sequence,
        min(first_year) over (order by _sequence) as first_year,
        max(last_year) over (order by _sequence) as last_year
    from spans
),
-- The years of the runs that added one: not those of every run.
grown as (
    select
        first_year,
        last_year,
        min(_sequence) as _sequence
    from covered
    group by first_year, last_year
),
days as (
    select
        explode(sequence(make_date(first_year, 1, 1), make_date(last_year, 12, 31))) as date_id,
        _sequence
    from grown
)
select
    date_id,
    year(date_id) as year,
    month(date_id) as month,
    day(date_id) as day,
    weekday(date_id) + 1 as day_of_week,
    date_format(date_id, 'EEEE') as day_name,
    date_format(date_id, 'MMMM') as month_name,
    quarter(date_id) as quarter,
    _sequence
from days
