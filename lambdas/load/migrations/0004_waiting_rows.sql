-- Rows that cannot be shown yet wait in one table, whichever star table they are of. A rename keeps
-- the rows and the rights that were granted.

alter table fact_quarantine rename to waiting_row;
alter table waiting_row rename constraint fact_quarantine_pkey to waiting_row_pkey;
alter table waiting_row rename column record_id to key;
alter table waiting_row alter column key type varchar using key::varchar;

-- `<column> is null; <dimension> has no <key> <value>` becomes an object for each reason. The load
-- that applies this migration tries every row again, and writes the reasons of those that still wait.
alter table waiting_row add column reasons jsonb;
update waiting_row
set reasons = array_to_json(
    array(
        select json_strip_nulls(
            json_build_object(
                'rule',
                coalesce(substring(part from '^(\S+ has no \S+) '), part),
                'value',
                substring(part from '^\S+ has no \S+ (.*)$')
            )
        )
        from unnest(string_to_array(reason, '; ')) as part
    )
);
alter table waiting_row alter column reasons set not null;
alter table waiting_row drop column reason;

comment on table waiting_row is 'Rows that cannot be shown yet; every load tries them again';
comment on column waiting_row.key is 'The primary key of the row in its star table';
comment on column waiting_row.reasons is 'An object for each: the rule, and the value that breaks it';
