"""The condition for row versions written since a horizon, beyond 32 bits."""

from hypothesis import given
from hypothesis import strategies as st

from lambdas.ingest.transactions import written_since

WRAP = 2**32


@given(st.integers(min_value=3, max_value=2**63))
def test_a_horizon_is_compared_as_the_32_bits_that_rows_carry(horizon: int) -> None:
    assert f" <= pg_catalog.age('{horizon % WRAP}'::xid) " in written_since(horizon).as_string()
