-- Through which instant of the source the warehouse is complete. Executions that find nothing new move
-- it as well, though they load nothing.

create table warehouse_freshness (
    is_only_row boolean primary key default true check (is_only_row),
    complete_as_of timestamptz not null,
    sequence bigint not null
);
comment on table warehouse_freshness is 'One row: how fresh the warehouse is';
comment on column warehouse_freshness.complete_as_of is
    'The instant of the newest snapshot of the source through which the warehouse is complete';
comment on column warehouse_freshness.sequence is 'The run through which every star table is loaded';
