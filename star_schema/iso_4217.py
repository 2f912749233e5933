"""The currencies of ISO 4217, which the star tables' SELECTs read as the table iso_4217."""

import pycountry


def currencies() -> list[tuple[str, str]]:
    """Returns the code and the name of every currency."""
    return [(currency.alpha_3, currency.name) for currency in pycountry.currencies]
