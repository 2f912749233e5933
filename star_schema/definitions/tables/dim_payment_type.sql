select
    payment_type_id,
    payment_type_name,
    _sequence
from payment_type
