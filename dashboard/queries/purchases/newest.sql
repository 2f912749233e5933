select
    purchase_order_id,
    created_date,
    counterparty_legal_name as counterparty,
    first_name || ' ' || last_name as staff,
    units,
    amount,
    currency_code as currency
from (
    select
        purchase_record_id,
        purchase_order_id,
        created_date,
        currency_id,
        counterparty_id,
        staff_id,
        units,
        amount
    from purchases
    order by purchase_record_id desc
    limit 50
) as newest
join dim_counterparty using (counterparty_id)
join dim_currency using (currency_id)
join dim_staff using (staff_id)
order by purchase_record_id desc
