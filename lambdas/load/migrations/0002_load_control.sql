-- What Load keeps of itself: the runs that the warehouse shows, and the facts that have to wait.

create table pipeline_run (
    sequence bigint primary key,
    run_id varchar not null,
    loaded_at timestamptz not null default clock_timestamp(),
    tables jsonb not null
);
comment on table pipeline_run is 'One row a load, written in the transaction of its rows';

create table fact_quarantine (
    table_name varchar not null,
    record_id bigint not null,
    content jsonb not null,
    reason varchar not null,
    first_attempt timestamptz not null default clock_timestamp(),
    last_attempt timestamptz not null default clock_timestamp(),
    attempts integer not null default 1,
    primary key (table_name, record_id)
);
comment on table fact_quarantine is 'Fact rows that cannot be loaded yet; every load tries them again';
