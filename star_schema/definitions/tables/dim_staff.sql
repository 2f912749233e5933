select
    staff.staff_id,
    staff.first_name,
    staff.last_name,
    department.department_name,
    department.location,
    staff.email_address,
    staff._sequence
from staff
join department
    on department.department_id = staff.department_id
    and department._sequence = staff._sequence
