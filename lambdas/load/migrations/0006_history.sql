-- What a reader needs to see the facts as they were: every run with the instant of its snapshot, also
-- the runs that were loaded together; and what waits, without the content of the rows.

create table captured_run (
    sequence bigint primary key,
    run_id varchar not null unique,
    snapshot_at timestamptz not null
);
comment on table captured_run is 'Every run that the warehouse has, and the instant that it shows';

create view waiting_rule as
select
    table_name,
    reason ->> 'rule' as rule,
    count(*) as rows,
    min(first_attempt) as first_attempt,
    max(last_attempt) as last_attempt,
    (array_agg(key order by first_attempt, key))[1:3] as some_keys
from waiting_row
cross join lateral jsonb_array_elements(reasons) as reason
group by table_name, reason ->> 'rule';
comment on view waiting_rule is 'How many rows wait for each broken rule, and since when';

-- The versions that are not the newest of their key, kept by each load: the newest versions are found
-- by one parallel scan, without sorting a fact by its key.
create table superseded_version (
    table_name varchar not null,
    record_id bigint not null,
    superseded_by bigint not null,
    primary key (table_name, record_id)
);
comment on table superseded_version is 'Each version of a fact that has a newer one, and that one';

insert into superseded_version (table_name, record_id, superseded_by)
select 'fact_sales_order', record_id, superseded_by
from (
    select
        sales_record_id as record_id,
        lag(sales_record_id) over (
            partition by sales_order_id order by sales_record_id desc
        ) as superseded_by
    from fact_sales_order
) as version
where superseded_by is not null
union all
select 'fact_purchase_order', record_id, superseded_by
from (
    select
        purchase_record_id as record_id,
        lag(purchase_record_id) over (
            partition by purchase_order_id order by purchase_record_id desc
        ) as superseded_by
    from fact_purchase_order
) as version
where superseded_by is not null
union all
select 'fact_payment', record_id, superseded_by
from (
    select
        payment_record_id as record_id,
        lag(payment_record_id) over (
            partition by payment_id order by payment_record_id desc
        ) as superseded_by
    from fact_payment
) as version
where superseded_by is not null;
