select sales_record_id as record_id
from fact_sales_order
where run_id in (
    select run_id
    from captured_run
    where snapshot_at < %(until)s::timestamptz
)
order by sales_record_id desc
limit 1
