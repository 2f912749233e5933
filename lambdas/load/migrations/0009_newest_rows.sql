-- What each star table had after its last load: by that, a load tells that one table alone was restored to
-- an earlier state or emptied, be it a dimension, the waiting rows or the marks of superseded versions.

alter table load_position
    add column newest_key varchar,
    add column newest_run_id varchar,
    add column marked bigint,
    add column waiting bigint;
comment on column load_position.newest_key is
    'The key of a row that the newest run of a dimension brought, as far as it is known';
comment on column load_position.newest_run_id is 'The run_id of that row';
comment on column load_position.marked is
    'The greatest record id of a fact in superseded_version';
comment on column load_position.waiting is 'The number of rows in waiting_row';
