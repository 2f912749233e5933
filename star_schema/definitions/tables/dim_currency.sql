-- iso_4217 is a view of the job's own: code and name of every currency that ISO 4217 knows.
select
    currency.currency_id,
    currency.currency_code,
    coalesce(iso_4217.name, currency.currency_code) as currency_name,
    currency._sequence
from currency
left join iso_4217
    on iso_4217.code = currency.currency_code
