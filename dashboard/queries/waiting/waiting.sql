select
    table_name,
    rule,
    rows,
    first_attempt::timestamp(0)::varchar as first_attempt,
    last_attempt::timestamp(0)::varchar as last_attempt,
    pg_catalog.array_to_string(some_keys, ', ') as some_keys
from waiting_rule
order by rows desc, table_name, rule
