"""A trace of a stack of which some parts are away, or not as they should be."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pyarrow as pa
import pytest

from lineage import trace as tracing
from lineage.star_rows import Made
from pipeline.database import Role
from pipeline.errors import WarehouseUnavailable


class Parts:
    """A stack whose raw zone, lake and warehouse fail, each with an error of its own."""

    raw_bucket = "raw"
    glue_database = "star"
    scope = None

    def __init__(self, *lake: Exception) -> None:
        self._errors = list(lake)

    def store(self) -> None:
        """Never comes so far."""

    def catalog(self) -> Any:
        raise self._errors.pop(0)

    def connect(self, role: Role) -> AbstractContextManager[None]:
        if role is Role.WAREHOUSE:
            raise WarehouseUnavailable("the warehouse database cannot be reached")
        return nullcontext()


@pytest.mark.parametrize("now", [Made({"paid": "true"}), None], ids=["a row", "no row"])
def test_what_can_be_reached_is_told_and_what_cannot_is_named(
    now: Made | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "made_now", lambda *_: now)
    parts: Any = Parts(pa.ArrowInvalid("no Parquet file"), KeyError("current-schema-id"))

    found = tracing.trace("fact_payment", "7", parts)

    assert found.not_reached == {
        "raw zone": "ArrowInvalid: no Parquet file",
        "lake": "KeyError: 'current-schema-id'",
        "warehouse": "the warehouse database cannot be reached",
    }
    assert found.source_now == ("the source has the row" if now else "the source has no such row")
    assert found.equals_source is None
    assert not found.differences
