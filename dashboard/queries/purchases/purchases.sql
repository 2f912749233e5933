select
    purchase_record_id,
    purchase_order_id,
    created_date,
    currency_id,
    counterparty_id,
    staff_id,
    item_quantity as units,
    item_quantity * item_unit_price as amount
from fact_purchase_order
where not is_deleted
    and (
        %(until)s::timestamptz is null
        or purchase_record_id <= (select record_id from known)
    )
    and not exists (
        select
        from superseded_version as version
        where version.table_name = 'fact_purchase_order'
            and version.record_id = purchase_record_id
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
    and (%(staff)s::integer[] is null or staff_id = any (%(staff)s))
