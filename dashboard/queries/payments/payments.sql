select
    payment_record_id,
    payment_id,
    payment_date,
    currency_id,
    counterparty_id,
    payment_type_id,
    paid,
    payment_amount as amount
from fact_payment
where not is_deleted
    and (
        %(until)s::timestamptz is null
        or payment_record_id <= (select record_id from known)
    )
    and not exists (
        select
        from superseded_version as version
        where version.table_name = 'fact_payment'
            and version.record_id = payment_record_id
            and (
                %(until)s::timestamptz is null
                or version.superseded_by <= (select record_id from known)
            )
    )
    and (%(start)s::date is null or payment_date >= %(start)s)
    and (%(end)s::date is null or payment_date <= %(end)s)
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
    and (%(type)s::integer[] is null or payment_type_id = any (%(type)s))
    and (%(paid)s::boolean[] is null or paid = any (%(paid)s))
