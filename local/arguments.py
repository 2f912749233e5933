"""Types of the arguments of commands: numbers within bounds."""

import argparse
import contextlib
import math
from collections.abc import Callable


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Returns the type of an argument that is a whole number within bounds."""
    bounds = f"{least} or more" if most is None else f"{least} to {most}"

    def number(text: str) -> int:
        with contextlib.suppress(ValueError):
            if least <= int(text) and (most is None or int(text) <= most):
                return int(text)
        raise argparse.ArgumentTypeError(f"{text!r}: a number is wanted, {bounds}")

    return number


def above_zero(text: str) -> float:
    """Is the type of an argument that is a number above 0."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r}: a number above 0 is wanted")
