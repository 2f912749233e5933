-- What changes rarely: people, places, designs.
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
