select
    pg_catalog.min(position.sequence) as through,
    count(*) filter (where position.sequence < newest.sequence) as tables_behind,
    (
        select complete_as_of
        from warehouse_freshness
        where sequence <= pg_catalog.min(position.sequence)
    ) as complete_as_of,
    (
        select snapshot_at
        from captured_run
        where sequence = pg_catalog.min(position.sequence)
    ) as snapshot_at,
    (select pg_catalog.min(snapshot_at) from captured_run) as known_from,
    (select coalesce(pg_catalog.sum(rows), 0)::bigint from waiting_rule) as waiting
from load_position as position
cross join (select pg_catalog.max(sequence) as sequence from load_position) as newest
