select
    payment_id,
    payment_date,
    counterparty_legal_name as counterparty,
    payment_type_name as type,
    case when paid then 'paid' else 'unpaid' end as paid,
    amount,
    currency_code as currency
from (
    select
        payment_record_id,
        payment_id,
        payment_date,
        currency_id,
        counterparty_id,
        payment_type_id,
        paid,
        amount
    from payments
    order by payment_record_id desc
    limit 50
) as newest
join dim_counterparty using (counterparty_id)
join dim_currency using (currency_id)
join dim_payment_type using (payment_type_id)
order by payment_record_id desc
