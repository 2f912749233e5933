"""AWS's prices, as pipeline/prices.toml has them, and what a usage costs by them.

Every amount is an estimate: AWS's bill has the account's discounts, taxes and free tiers.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources

HOURS_A_MONTH = 730
"""AWS's own pages count a month as this many hours."""

_GLUE_MINIMUM_SECONDS = 60
_SECONDS_AN_HOUR = 3600
_MB_A_GB = 1024


@dataclass(frozen=True)
class Price:
    """The price of one unit.

    Attributes:
        usd: US dollars.
        unit: What is counted.
        usage: The usage type in AWS's price list.
        source: The page that states it.
        read: The date of that statement.
        confirmed: Whether it was read for the region; otherwise it is the one of us-east-1.
    """

    usd: float
    unit: str
    usage: str
    source: str
    read: date
    confirmed: bool


@dataclass(frozen=True)
class Prices:
    """The prices of a region by name, such as `glue_dpu_hour`."""

    region: str
    by_name: Mapping[str, Price]

    def usd(self, usage: Mapping[str, float]) -> float:
        """Returns the estimated cost, in US dollars, of a number of units by price name.

        Raises:
            KeyError: There is no such price.
        """
        return sum(self.by_name[name].usd * units for name, units in usage.items())


@cache
def prices() -> Prices:
    """Returns the prices of pipeline/prices.toml."""
    text = (resources.files("pipeline") / "prices.toml").read_text("utf-8")
    document = tomllib.loads(text)
    region = document.pop("region")
    return Prices(region, {name: Price(**fields) for name, fields in document.items()})


def lambda_gb_seconds(memory_mb: int, seconds: float) -> float:
    """Returns the GB-seconds of invocations that took so many seconds together."""
    return memory_mb / _MB_A_GB * seconds


def glue_dpu_hours(dpus: float, seconds: float) -> float:
    """Returns the DPU-hours of one job run. AWS bills a minute at least."""
    return dpus * max(seconds, _GLUE_MINIMUM_SECONDS) / _SECONDS_AN_HOUR
