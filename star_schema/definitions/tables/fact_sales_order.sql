select
    sales_order_id,
    cast(created_at as date) as created_date,
    date_format(created_at, 'HH:mm:ss.SSSSSS') as created_time,
    cast(last_updated as date) as last_updated_date,
    date_format(last_updated, 'HH:mm:ss.SSSSSS') as last_updated_time,
    staff_id as sales_staff_id,
    counterparty_id,
    units_sold,
    cast(cast(unit_price as string) as decimal(38, 10)) as unit_price,
    currency_id,
    design_id,
    cast(agreed_payment_date as date) as agreed_payment_date,
    cast(agreed_delivery_date as date) as agreed_delivery_date,
    agreed_delivery_location_id,
    _sequence
from sales_order
