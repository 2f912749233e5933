"""Keys are the declared natural keys, whatever primary keys the source declares."""

from collections.abc import Callable
from typing import LiteralString

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipeline.errors import TableBuildFailed
from tests.integration.build.world import Business, Star

PAYMENT = "fact_payment"
KEYS: dict[str, LiteralString] = {
    "as it was": "primary key (payment_id)",
    "composite, the natural key last": "primary key (company_ac_number, payment_id)",
    "composite, the natural key first": "primary key (payment_id, company_ac_number)",
    "with included columns": "primary key (payment_id) include (paid, created_at)",
    "none": "",
}


def declare(business: Business, key: str) -> None:
    """Declares another primary key of payment."""
    business.execute("alter table payment drop constraint if exists payment_pkey")
    if KEYS[key]:
        business.execute("alter table payment add constraint payment_pkey " + KEYS[key])


@pytest.mark.parametrize("key", list(KEYS)[1:])
def test_deletions_are_seen_whatever_the_primary_key(
    business: Business, star: Star, key: str
) -> None:
    business.run()
    star.build(PAYMENT)

    for number, then in enumerate((key, key, "as it was"), start=1):
        declare(business, then)
        business.execute("delete from payment where payment_id = %s", number)
        business.execute("update payment set payment_amount = %s where payment_id = 9", number)
        business.run()
        assert star.build(PAYMENT) == {PAYMENT: 2}

    assert star.differences(PAYMENT) == []


@settings(
    max_examples=2,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    days=st.lists(
        st.tuples(st.sampled_from(list(KEYS)), st.integers(1, 6), st.booleans()),
        min_size=4,
        max_size=5,
    )
)
def test_any_changes_of_the_key_leave_the_history_right(
    days: list[tuple[str, int, bool]],
    new_business: Callable[[], Business],
    new_star: Callable[[Business], Star],
) -> None:
    business = new_business()
    star = new_star(business)
    for key, number, is_built in days:
        declare(business, key)
        business.execute("delete from payment where payment_id = %s", number)
        business.run()
        if is_built:
            star.build(PAYMENT)

    star.build(PAYMENT)

    assert star.differences(PAYMENT) == []


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        (
            "insert into payment overriding system value "
            "select * from payment where payment_id = 3",
            "payment_id is unique",
        ),
        ("update payment set payment_id = null where payment_id = 3", "payment_id is given"),
    ],
)
def test_keys_that_are_doubled_or_missing_in_the_raw_zone_stop_their_table_with_words(
    business: Business,
    star: Star,
    statement: LiteralString,
    rule: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Ingest does not take such a table. A run of several snapshots can have two rows of a key.
    monkeypatch.setattr("lambdas.ingest.planning.refuse_ambiguous_key", lambda *_: None)
    business.execute("alter table payment drop constraint payment_pkey")
    business.execute("alter table payment alter column payment_id drop identity")
    business.execute("alter table payment alter column payment_id drop not null")
    business.execute(statement)
    business.capture()

    with pytest.raises(TableBuildFailed, match=f"rows of payment break the rule '{rule}'"):
        star.build(PAYMENT, "dim_currency")

    assert star.rows(PAYMENT) == []
    assert len(star.rows("dim_currency")) == 3
