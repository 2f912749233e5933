-- Orders, and the transaction and the payment that each brings.
insert into sales_order (sales_order_id, design_id, staff_id, counterparty_id, units_sold, unit_price, currency_id,
    agreed_delivery_date, agreed_payment_date, agreed_delivery_location_id, created_at, last_updated)
select
    n + n / 97,
    d + d / 40,
    1 + pg_temp.draw(n, 'staff', 20),
    1 + pg_temp.draw(n, 'counterparty', 20),
    1000 + pg_temp.draw(n, 'units', 99001),
    (200 + pg_temp.draw(n, 'price', 201))::numeric / 100,
    1 + pg_temp.draw(n, 'currency', 3),
    to_char(at + (1 + pg_temp.draw(n, 'delivery', 200)) * interval '1 day', 'YYYY-MM-DD'),
    to_char(at + (1 + pg_temp.draw(n, 'payment', 200)) * interval '1 day', 'YYYY-MM-DD'),
    1 + pg_temp.draw(n, 'location', 30),
    at, at + case pg_temp.draw(n, 'late', 10) when 0 then interval '2 days 3.456 seconds' else interval '0' end
from generate_series(1, {sales}) as n
cross join lateral (select 1 + pg_temp.draw(n, 'design', 250) as d) as designs
cross join lateral (
    select timestamp '2023-01-02 08:15:00.123'
        + pg_temp.draw(n / 4, 'moment', 63072000) * interval '1 second' as at
) as times;
insert into purchase_order (purchase_order_id, staff_id, counterparty_id, item_code, item_quantity, item_unit_price,
    currency_id, agreed_delivery_date, agreed_payment_date, agreed_delivery_location_id, created_at, last_updated)
select
    n + n / 89,
    1 + pg_temp.draw(n, 'p-staff', 20),
    1 + pg_temp.draw(n, 'p-counterparty', 20),
    upper(substr(md5({seed} || ':' || n), 1, 7)),
    1 + pg_temp.draw(n, 'quantity', 1000),
    (300 + pg_temp.draw(n, 'p-price', 99701))::numeric / 100,
    1 + pg_temp.draw(n, 'p-currency', 3),
    to_char(at + (1 + pg_temp.draw(n, 'p-delivery', 200)) * interval '1 day', 'YYYY-MM-DD'),
    to_char(at + (1 + pg_temp.draw(n, 'p-payment', 200)) * interval '1 day', 'YYYY-MM-DD'),
    1 + pg_temp.draw(n, 'p-location', 30),
    at, at
from generate_series(1, {purchases}) as n
cross join lateral (
    select timestamp '2023-01-02 09:00:00.5'
        + pg_temp.draw(n / 31, 'p-moment', 63072000) * interval '1 second' as at
) as times;
insert into transaction (transaction_type, sales_order_id, purchase_order_id, created_at, last_updated)
select kind, sale, purchase, created_at, created_at
from (
    select 'SALE' as kind, sales_order_id as sale, null::integer as purchase, created_at from sales_order
    union all
    select 'PURCHASE', null, purchase_order_id, created_at from purchase_order
) as orders
order by created_at, kind, sale, purchase;
insert into payment (transaction_id, counterparty_id, payment_amount, currency_id, payment_type_id, paid,
    payment_date, company_ac_number, counterparty_ac_number, created_at, last_updated)
select
    transaction_id,
    coalesce(sale.counterparty_id, purchase.counterparty_id),
    coalesce(sale.units_sold * sale.unit_price, purchase.item_quantity * purchase.item_unit_price),
    coalesce(sale.currency_id, purchase.currency_id),
    case transaction_type when 'SALE' then 1 else 3 end
        + case pg_temp.draw(transaction_id, 'refund', 50) when 0 then 1 else 0 end,
    paid,
    coalesce(sale.agreed_payment_date, purchase.agreed_payment_date),
    10000000 + pg_temp.draw(transaction_id, 'company', 90000000),
    10000000 + pg_temp.draw(transaction_id, 'account', 90000000),
    transaction.created_at,
    transaction.created_at + case when paid then interval '4 days 0.001 seconds' else interval '0' end
from transaction
left join sales_order as sale using (sales_order_id)
left join purchase_order as purchase using (purchase_order_id)
cross join lateral (select pg_temp.draw(transaction_id, 'paid', 3) > 0 as paid) as payments
order by transaction_id;
