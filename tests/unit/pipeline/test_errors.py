"""The error tree: what a retry can help, and what it cannot."""

from collections.abc import Iterator

import pytest

from pipeline import errors
from pipeline.errors import PermanentError, PipelineError, TransientError


def leaves(kind: type[PipelineError] = PipelineError) -> Iterator[type[PipelineError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from leaves(child) if child.__subclasses__() else (child,)


@pytest.mark.parametrize("leaf", list(leaves()), ids=lambda leaf: leaf.__name__)
def test_an_error_is_worth_a_retry_or_it_is_not(leaf: type[PipelineError]) -> None:
    assert issubclass(leaf, TransientError) != issubclass(leaf, PermanentError)


@pytest.mark.parametrize("leaf", list(leaves()), ids=lambda leaf: leaf.__name__)
def test_an_error_says_in_one_line_what_it_is(leaf: type[PipelineError]) -> None:
    assert leaf.__doc__
    assert "\n" not in leaf.__doc__


def test_what_another_attempt_can_cure_is_transient() -> None:
    assert {leaf.__name__ for leaf in leaves(TransientError)} == {
        "ObjectStoreUnavailable",
        "SourceBusy",
        "SourceUnavailable",
        "WarehouseBusy",
        "WarehouseUnavailable",
    }
