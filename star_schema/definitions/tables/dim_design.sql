select
    design_id,
    design_name,
    file_location,
    file_name,
    _sequence
from design
