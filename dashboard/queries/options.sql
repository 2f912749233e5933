select 'currency' as filter, currency_id::varchar as id, currency_code as label
from dim_currency
union all
select 'counterparty', counterparty_id::varchar, counterparty_legal_name
from dim_counterparty
union all
select distinct 'country', counterparty_legal_country, counterparty_legal_country
from dim_counterparty
union all
select 'staff', staff_id::varchar, first_name || ' ' || last_name
from dim_staff
union all
select 'design', design_id::varchar, design_name || ' #' || design_id
from dim_design
union all
select 'type', payment_type_id::varchar, payment_type_name
from dim_payment_type
union all
select 'paid', paid::varchar, case when paid then 'paid' else 'unpaid' end
from pg_catalog.unnest(array[true, false]) as paid
order by filter, label, id
