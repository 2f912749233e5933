"""Natural keys as somebody writes them."""

import dataclasses

import pytest

from lineage.keys import read_key
from pipeline.errors import InvalidInput
from star_schema.tables import StarTable, star_table

PAYMENT = star_table("fact_payment")


def with_key_type(kind: str) -> StarTable:
    """Returns a star table whose natural key has another type."""
    columns = tuple(
        dataclasses.replace(one, type=kind) if one.name == PAYMENT.natural_key else one
        for one in PAYMENT.columns
    )
    return dataclasses.replace(PAYMENT, columns=columns)


@pytest.mark.parametrize(
    ("kind", "text", "key"),
    [
        ("int", "0123", "123"),
        ("int", "-2147483648", "-2147483648"),
        ("bigint", "9223372036854775807", "9223372036854775807"),
        ("date", "20260131", "2026-01-31"),
        ("string", "O'Brien; drop table x --", "O'Brien; drop table x --"),
    ],
)
def test_a_key_has_the_text_that_it_has_in_every_part(kind: str, text: str, key: str) -> None:
    assert read_key(with_key_type(kind), text) == key


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", "1 or true"),
        ("int", ""),
        ("int", "2147483648"),
        ("int", "9" * 5000),
        ("bigint", "-9223372036854775809"),
        ("date", "2026-02-30"),
        ("string", "a\0b"),
    ],
)
def test_a_key_that_the_table_cannot_have_is_refused(kind: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=f"payment_id is of the type {kind}"):
        read_key(with_key_type(kind), text)
