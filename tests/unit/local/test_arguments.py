"""A number that a command cannot work with is refused as it is given."""

import argparse

import pytest

from local.arguments import above_zero, whole_number


@pytest.mark.parametrize("text", ["9", "-5", "abc", "1e6", "nan", ""])
def test_a_number_that_is_none_or_too_small_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}': a number is wanted, 10 or"):
        whole_number(10)(text)


def test_a_number_that_is_too_large_is_refused() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="'65536': a number is wanted, 1 to 65535"):
        whole_number(1, 65535)("65536")


@pytest.mark.parametrize("text", ["1", "80", "65535"])
def test_a_number_within_the_bounds_is_taken(text: str) -> None:
    assert whole_number(1, 65535)(text) == int(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "abc", ""])
def test_a_factor_that_is_not_above_zero_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}': a number above 0 is wanted"):
        above_zero(text)


def test_a_factor_may_be_a_fraction() -> None:
    assert above_zero("0.01") == 0.01
