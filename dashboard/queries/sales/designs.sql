select
    design_id,
    currency_id,
    count(*) as counted,
    sum(amount) as amount
from sales
group by 1, 2
