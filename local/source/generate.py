"""Makes the source database: its tables, and rows that look like a real business's.

Rows are made at the server, set by set, from a hash of the seed and the row's number: the same
seed and scale give the same rows, whatever the clock says.
"""

from importlib import resources

import psycopg

_SEEDED = """
create function pg_temp.draw(row_number bigint, purpose text, bound bigint) returns bigint
language sql immutable as $$
    select abs(hashtextextended(purpose || ':' || row_number, {seed})) % bound
$$
"""

_REFERENCE_ROWS = """
insert into _prisma_migrations values ('1', '20221103_init');
insert into department (department_name, location, manager, created_at, last_updated)
select name, nullif(place, '-'), nullif(manager, '-'), '2022-11-03 14:20:49.962', '2022-11-03 14:20:49.962'
from (values
    ('Sales', 'Manchester', 'Ines O''Rourke'), ('Purchasing', 'Manchester', 'null'),
    ('Production', 'Leeds', 'Wei "Wes" Chan'), ('Dispatch', 'Leeds', ''),
    ('Finance', 'Manchester', 'Łukasz Nowak'), ('Facilities', '-', 'None'),
    ('Communications', 'Leeds', '-'), ('HR', 'Leeds', 'Zoë Marsh, MA')
) as rows (name, place, manager);
insert into staff (first_name, last_name, department_id, email_address, created_at, last_updated)
select
    (array['Jeremie','Deron','Jeanette','Ana','Magdalena','Korey','Raphael','Oswaldo','Brody','Jazmyn'])[1 + n % 10],
    (array['Franey','O''Keeffe','Erdman','Glover','Łaski','Nguyễn','Ørsted','van der Berg'])[1 + n % 8],
    1 + n % 8,
    'staff' || n || '@example.com',
    '2022-11-03 14:20:51.563', '2022-11-03 14:20:51.563'
from generate_series(0, 19) as n;
insert into address (address_line_1, address_line_2, district, city, postal_code, country, phone, created_at, last_updated)
select
    (n * 7 + 3) || (array[' Mill Lane',' Rue de l''Église',' "The Old Dairy", High St',' 東京通り',' Улица Мира'])[1 + n % 5],
    case n % 4 when 0 then null when 1 then '' when 2 then 'Suite ' || n else 'null' end,
    case n % 3 when 0 then null when 1 then 'None' else 'Avon' end,
    (array['New Patienceburgh','Aliso Viejo','Łódź','São Paulo','Kyōto'])[1 + n % 5],
    lpad((n * 137)::text, 5, '0'),
    (array['Turkey','San Marino','Poland','Brazil','Japan'])[1 + n % 5],
    '0' || (1803637401 + n),
    '2022-11-03 14:20:49.962', '2022-11-03 14:20:49.962'
from generate_series(0, 29) as n;
insert into counterparty (counterparty_legal_name, legal_address_id, commercial_contact, delivery_contact, created_at, last_updated)
select
    (array['Fahey and Sons','Leannon, Predovic and Morar','O''Hara "Bros"','Müller & Söhne GmbH','None'])[1 + n % 5] || ' ' || n,
    1 + (n * 3) % 30,
    case n % 3 when 0 then null else 'Micheal Toy' end,
    case n % 4 when 0 then '' when 1 then null else 'Mrs. Lucy Runolfsdottir' end,
    '2022-11-03 14:20:51.563', '2022-11-03 14:20:51.563'
from generate_series(0, 19) as n;
insert into currency (currency_code, created_at, last_updated)
select code, '2022-11-03 14:20:49.962', '2022-11-03 14:20:49.962'
from unnest(array['GBP', 'USD', 'EUR']) as code;
insert into payment_type (payment_type_name, created_at, last_updated)
select name, '2022-11-03 14:20:49.962', '2022-11-03 14:20:49.962'
from unnest(array['SALES_RECEIPT', 'SALES_REFUND', 'PURCHASE_PAYMENT', 'PURCHASE_REFUND']) as name;
insert into design (design_id, design_name, file_location, file_name, created_at, last_updated)
select
    n + n / 40,
    (array['Wooden','Bronze','Granite','Steel','Frozen','L''Été','木'])[1 + n % 7],
    (array['/usr','/private','/Library','/usr/local/src'])[1 + n % 4],
    'design-' || n || '.json',
    at, at
from generate_series(1, 250) as n
cross join lateral (
    select timestamp '2022-11-03 14:20:49.962' + (n / 31) * interval '3 days 1 hour 0.037 seconds' as at
) as times;
"""

_ORDERS = """
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
    case transaction_type when 'SALE' then 1 else 3 end,
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
"""

_IDENTITIES = """
select setval(pg_get_serial_sequence(table_name, table_name || '_id'), greatest(last, 1))
from (
    select 'design' as table_name, (select max(design_id) from design) as last
    union all select 'sales_order', (select max(sales_order_id) from sales_order)
    union all select 'purchase_order', (select max(purchase_order_id) from purchase_order)
) as identities;
"""
_SALES_ORDERS = 5000
_PURCHASE_ORDERS = 2200


def create_and_fill(dsn: str, *, scale: float = 1.0, seed: int = 1) -> None:
    """Creates the source's tables in an empty database, and fills them.

    Args:
        dsn: The database.
        scale: Orders relative to the real business's 5,000 sales and 2,200 purchases.
        seed: Another seed gives another business.
    """
    schema = (resources.files("local.source") / "schema.sql").read_text()
    with psycopg.connect(dsn) as connection:
        connection.execute(schema.encode())
        connection.execute(_SEEDED.format(seed=int(seed)).encode())
        connection.execute(_REFERENCE_ROWS.encode())
        connection.execute(
            _ORDERS.format(
                seed=int(seed),
                sales=max(1, round(_SALES_ORDERS * scale)),
                purchases=max(1, round(_PURCHASE_ORDERS * scale)),
            ).encode()
        )
        connection.execute(_IDENTITIES.encode())
