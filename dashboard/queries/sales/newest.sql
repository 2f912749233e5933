select
    sales_order_id,
    created_date,
    counterparty_legal_name as counterparty,
    first_name || ' ' || last_name as staff,
    design_name || ' #' || design_id as design,
    units,
    amount,
    currency_code as currency
from (
    select
        sales_record_id,
        sales_order_id,
        created_date,
        currency_id,
        counterparty_id,
        staff_id,
        design_id,
        units,
        amount
    from sales
    order by sales_record_id desc
    limit 50
) as newest
join dim_counterparty using (counterparty_id)
join dim_currency using (currency_id)
join dim_staff using (staff_id)
join dim_design using (design_id)
order by sales_record_id desc
