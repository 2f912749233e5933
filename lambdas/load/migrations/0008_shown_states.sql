-- What each star table shows of the lake: by that, a load tells a table that was restored or emptied, and
-- a lake table that was built anew since.

alter table load_position add column built_anew bigint, add column record_id bigint;
comment on column load_position.built_anew is
    'The snapshot in which a build replaced all rows of the lake table, as far as it is known';
comment on column load_position.record_id is
    'The greatest record id of a fact that is shown or waits';
