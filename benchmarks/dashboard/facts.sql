-- Facts of {payments} payments in the proportions of the real source: 684 sales to 316 purchases.
-- One payment in twenty was paid in a second run.
insert into dim_date
select
    day, extract(year from day), extract(month from day), extract(day from day),
    extract(isodow from day), to_char(day, 'FMDay'), to_char(day, 'FMMonth'),
    extract(quarter from day), false, 'run-1'
from (
    select generate_series(timestamp '2023-01-01', '2026-12-31', interval '1 day')::date as day
) as days;
insert into dim_staff
select n, 'First ' || n, 'Last ' || n, 'Department ' || n % 8, null, 'e' || n, false, 'run-1'
from generate_series(1, 20) as n;
insert into dim_location
select n, 'street', null, null, 'city', 'code', 'country', 'phone', false, 'run-1'
from generate_series(1, 30) as n;
insert into dim_currency
select n, (array['GBP', 'USD', 'EUR'])[n], 'currency ' || n, false, 'run-1'
from generate_series(1, 3) as n;
insert into dim_design
select n, 'Design', '/usr', 'file-' || n, false, 'run-1'
from generate_series(1, 250) as n;
insert into dim_counterparty
select
    n, 'Counterparty ' || n, 'street', null, null, 'city', 'code',
    (array['Turkey', 'San Marino', 'Poland', 'Brazil', 'Japan'])[1 + n % 5], 'phone', false, 'run-1'
from generate_series(1, 20) as n;
insert into dim_payment_type
select n, (array['SALES_RECEIPT', 'SALES_REFUND', 'PURCHASE_PAYMENT', 'PURCHASE_REFUND'])[n],
    false, 'run-1'
from generate_series(1, 4) as n;
insert into dim_transaction
select n, 'SALE', n, null, false, 'run-1'
from generate_series(1, {payments}) as n;
-- The keys are valid by construction: checking each costs most of the time.
set session_replication_role = replica;
select setseed(0.5);
insert into fact_sales_order
select
    n, n, day, '10:00', day, '10:00', 1 + (random() * 19)::integer, 1 + (random() * 19)::integer,
    1000 + (random() * 99000)::integer, round((2 + 2 * random())::numeric, 2),
    1 + (random() * 2)::integer, 1 + (random() * 249)::integer, day + 30, day + 60,
    1 + (random() * 29)::integer, false, 'run-1'
from (
    select n, date '2023-01-02' + (random() * 730)::integer as day
    from generate_series(1, {payments} * 684 / 1000) as n
) as orders;
insert into fact_purchase_order
select
    n, n, day, '10:00', day, '10:00', 1 + (random() * 19)::integer, 1 + (random() * 19)::integer,
    'CODE', 1 + (random() * 999)::integer, round((3 + 997 * random())::numeric, 2),
    1 + (random() * 2)::integer, day + 30, day + 60, 1 + (random() * 29)::integer, false, 'run-1'
from (
    select n, date '2023-01-02' + (random() * 730)::integer as day
    from generate_series(1, {payments} - {payments} * 684 / 1000) as n
) as orders;
insert into fact_payment
select
    n, n, day, '10:00', day, '10:00', n, 1 + (random() * 19)::integer,
    round((1 + 300000 * random())::numeric, 2), 1 + (random() * 2)::integer,
    1 + (n > {payments} * 684 / 1000)::integer * 2 + (random() < 0.02)::integer, random() < 0.66,
    day + (random() * 200)::integer, false, 'run-1'
from (
    select n, date '2023-01-02' + (random() * 730)::integer as day
    from generate_series(1, {payments}) as n
) as orders;
insert into fact_payment
select
    {payments} + row_number() over (), payment_id, created_date, created_time, last_updated_date,
    last_updated_time, transaction_id, counterparty_id, payment_amount, currency_id,
    payment_type_id, true, payment_date, false, 'run-2'
from fact_payment
where payment_id % 20 = 0;
insert into superseded_version
select 'fact_payment', payment_id, payment_record_id
from fact_payment
where run_id = 'run-2';
set session_replication_role = origin;
insert into captured_run
values (1, 'run-1', '2026-11-20 09:30Z'), (2, 'run-2', '2026-11-21 09:30Z');
insert into load_position
select table_name, 2
from information_schema.tables
where table_name ~ '^(dim|fact)_';
insert into warehouse_freshness (complete_as_of, sequence) values ('2026-11-21 09:30Z', 2);
