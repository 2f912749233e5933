"""Any short history, built in any batches, ends as the oracle says."""

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.integration.star_schema.world import Business, Star

TABLES = ("fact_payment", "dim_design", "dim_staff")
FIRST_NEW_KEY = 9001

PUT_PAYMENT = (
    "insert into payment (payment_id, transaction_id, counterparty_id, payment_amount, "
    "currency_id, payment_type_id, paid, payment_date, company_ac_number, "
    "counterparty_ac_number, created_at, last_updated) "
    "values (%s, 1, 1, %s, 1, 1, false, %s, 1, 1, '2024-01-01', '2024-01-01') "
    "on conflict (payment_id) do update set payment_amount = excluded.payment_amount, "
    "payment_date = excluded.payment_date, last_updated = excluded.last_updated"
)
PUT_DESIGN = (
    "insert into design (design_id, design_name, file_location, file_name) "
    "values (%s, %s, '/usr', 'design.json') "
    "on conflict (design_id) do update set design_name = excluded.design_name"
)


@dataclass(frozen=True)
class Day:
    """What happens between two runs.

    Attributes:
        payments: What happens to each of some payments.
        designs: What happens to each of some designs: a new name, nothing, or its deletion.
        department: The first department's new name, if any.
        moved: The department that the first of the staff moves to.
        is_built: Whether the star is built after the day's run.
    """

    payments: list[str]
    designs: list[str]
    department: str | None
    moved: int
    is_built: bool


def days() -> st.SearchStrategy[list[Day]]:
    payment = st.sampled_from(["leave", "one", "two", "touch", "renew", "malformed", "delete"])
    design = st.sampled_from(["leave", "one", "two", "delete"])
    day = st.builds(
        Day,
        payments=st.lists(payment, min_size=8, max_size=8),
        designs=st.lists(design, min_size=4, max_size=4),
        department=st.sampled_from([None, "one", "two"]),
        moved=st.integers(1, 2),
        is_built=st.booleans(),
    )
    return st.lists(day, min_size=2, max_size=3)


def change_payment(business: Business, key: int, action: str) -> None:
    if action in ("delete", "renew"):
        business.execute("delete from payment where payment_id = %s", key)
    if action in ("one", "renew"):
        business.execute(PUT_PAYMENT, key, 1, "2024-02-03")
    if action == "two":
        business.execute(PUT_PAYMENT, key, 2, "2024-02-03")
    if action == "malformed":
        business.execute(PUT_PAYMENT, key, 1, "soon")
    if action == "touch":
        business.execute(
            "update payment set last_updated = current_timestamp where payment_id = %s", key
        )


def change_design(business: Business, key: int, action: str) -> None:
    if action == "delete":
        business.execute("delete from design where design_id = %s", key)
    elif action != "leave":
        business.execute(PUT_DESIGN, key, action)


def live(business: Business, day: Day) -> None:
    for key, action in enumerate(day.payments, FIRST_NEW_KEY):
        change_payment(business, key, action)
    for key, action in enumerate(day.designs, FIRST_NEW_KEY):
        change_design(business, key, action)
    if day.department:
        business.execute(
            "update department set department_name = %s where department_id = 1", day.department
        )
    business.execute("update staff set department_id = %s where staff_id = 1", day.moved)


# An example takes seconds: what fails is shown as it was drawn, not shrunk.
@settings(max_examples=5, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(history=days())
def test_any_history_in_any_batches_ends_as_the_oracle_says(
    history: list[Day],
    new_business: Callable[[], Business],
    new_star: Callable[[Business], Star],
) -> None:
    business = new_business()
    star = new_star(business)

    for day in history:
        live(business, day)
        business.run()
        if day.is_built:
            star.build(*TABLES)
    star.build(*TABLES)

    assert star.differences(*TABLES) == []
