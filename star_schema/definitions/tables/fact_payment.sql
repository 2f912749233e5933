select
    payment_id,
    cast(created_at as date) as created_date,
    date_format(created_at, 'HH:mm:ss.SSSSSS') as created_time,
    cast(last_updated as date) as last_updated_date,
    date_format(last_updated, 'HH:mm:ss.SSSSSS') as last_updated_time,
    transaction_id,
    counterparty_id,
    cast(cast(payment_amount as string) as decimal(38, 10)) as payment_amount,
    currency_id,
    payment_type_id,
    paid,
    cast(payment_date as date) as payment_date,
    _sequence
from payment
