select
    run.sequence,
    run.run_id,
    run.snapshot_at::timestamp(0)::varchar as snapshot_at,
    load.loaded_at::timestamp(0)::varchar as loaded_at,
    (
        select
            pg_catalog.sum(
                (done.value ->> 'inserted')::bigint + (done.value ->> 'updated')::bigint
            )::bigint
        from pg_catalog.jsonb_each(load.tables) as done
    ) as rows
from captured_run as run
left join pipeline_run as load using (sequence)
order by run.sequence desc
limit 30
