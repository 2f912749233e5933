-- How far each star table is loaded. Until now that was the newest run of pipeline_run for all.

create table load_position (
    table_name varchar primary key,
    sequence bigint not null
);
comment on table load_position is 'The run through which each star table is loaded';

insert into load_position (table_name, sequence)
select table_name, max(sequence)
from pipeline_run
cross join unnest(
    array[
        'dim_date',
        'dim_staff',
        'dim_location',
        'dim_currency',
        'dim_design',
        'dim_counterparty',
        'dim_payment_type',
        'dim_transaction',
        'fact_sales_order',
        'fact_purchase_order',
        'fact_payment'
    ]
) as table_name
group by table_name;
