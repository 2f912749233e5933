"""The loads that a warehouse tells of a row."""

from datetime import UTC, datetime
from typing import Any

from lineage.warehouse_history import WarehouseRows


def loads(*ages: int) -> WarehouseRows:
    """Returns what a warehouse has whose loads are that many transactions ago."""
    told: tuple[dict[str, Any], ...] = tuple(
        {"sequence": run, "run_id": f"run-{run}", "loaded_at": datetime.now(UTC), "age": age}
        for run, age in enumerate(ages, start=1)
    )
    return WarehouseRows(None, 0, (), {}, told)


def test_a_row_is_of_the_load_whose_transaction_wrote_it() -> None:
    written = loads(9, 5, 2).written_by({"_age": 4})

    assert written is not None
    assert written.sequence == 2
    assert loads(9, 5, 2).written_by({"_age": 10}) is None


def test_no_load_is_told_of_a_row_that_was_restored_with_all_loads() -> None:
    restored = loads(9, 9, 2)

    assert restored.written_by({"_age": 8}) is None
    written = restored.written_by({"_age": 2})
    assert written is not None
    assert written.sequence == 3
