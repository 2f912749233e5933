select
    sales_record_id,
    sales_order_id,
    created_date,
    currency_id,
    counterparty_id,
    sales_staff_id as staff_id,
    design_id,
    units_sold as units,
    units_sold * unit_price as amount
from fact_sales_order
where not is_deleted
    and (
        %(until)s::timestamptz is null
        or sales_record_id <= (select record_id from known)
    )
    and not exists (
        select
        from superseded_version as version
        where version.table_name = 'fact_sales_order'
            and version.record_id = sales_record_id
            and (
                %(until)s::timestamptz is null
                or version.superseded_by <= (select record_id from known)
            )
    )
    and (%(start)s::date is null or created_date >= %(start)s)
    and (%(end)s::date is null or created_date <= %(end)s)
    and (%(currency)s::integer[] is null or currency_id = any (%(currency)s))
    and (
        %(country)s::varchar[] is null
        or counterparty_id in (
            select counterparty_id
            from dim_counterparty
            where counterparty_legal_country = any (%(country)s)
        )
    )
    and (%(counterparty)s::integer[] is null or counterparty_id = any (%(counterparty)s))
    and (%(staff)s::integer[] is null or sales_staff_id = any (%(staff)s))
    and (%(design)s::integer[] is null or design_id = any (%(design)s))
