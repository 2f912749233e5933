"""The currencies are those of the library that keeps them."""

import pycountry

from star_schema.iso_4217 import currencies


def test_the_currencies_are_those_that_pycountry_knows():
    known = [(currency.alpha_3, currency.name) for currency in pycountry.currencies]
    assert currencies() == known, "run `make render`"
