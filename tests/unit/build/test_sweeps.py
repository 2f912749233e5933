"""Which captures show every key that there was."""

import dataclasses
from typing import Any

import pytest

from glue_jobs.build.raw_views import shows_all_keys
from pipeline.manifest import TableCapture
from tests.unit.pipeline.test_pending import manifest


def capture(**fields: Any) -> TableCapture:
    (found,) = manifest(1, {"payment": 1}).tables.values()
    return dataclasses.replace(found, **fields)


@pytest.mark.parametrize(
    ("fields", "shows"),
    [
        ({"files": ("a",)}, True),
        ({"files": ("a",), "keys_swept": False}, False),
        ({"key_files": ("k",), "natural_key": ("payment_id",), "primary_key": ("a", "b")}, True),
        ({"key_files": ("k",), "primary_key": ("a", "payment_id")}, True),
        ({"key_files": ("k",), "primary_key": ("a", "b")}, False),
        ({"key_files": ("k",), "natural_key": ("a",), "primary_key": ("payment_id",)}, False),
    ],
)
def test_a_capture_shows_all_keys_if_it_swept_the_natural_key(
    fields: dict[str, Any], shows: bool
) -> None:
    assert shows_all_keys(capture(**fields), "payment_id") is shows
