select
    purchase_order_id,
    cast(created_at as date) as created_date,
    date_format(created_at, 'HH:mm:ss.SSSSSS') as created_time,
    cast(last_updated as date) as last_updated_date,
    date_format(last_updated, 'HH:mm:ss.SSSSSS') as last_updated_time,
    staff_id,
    counterparty_id,
    item_code,
    item_quantity,
    cast(cast(item_unit_price as string) as decimal(38, 10)) as item_unit_price,
    currency_id,
    cast(agreed_delivery_date as date) as agreed_delivery_date,
    cast(agreed_payment_date as date) as agreed_payment_date,
    agreed_delivery_location_id,
    _sequence
from purchase_order
