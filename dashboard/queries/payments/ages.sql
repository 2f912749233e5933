select
    width_bucket(%(reference)s::date - payment_date, array[1, 31, 91, 181, 366, 731]) as age,
    currency_id,
    count(*) as counted,
    sum(amount) as amount
from payments
where not paid
group by 1, 2
