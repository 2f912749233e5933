"""Whether a run changed a source of a star table, by the runs' manifests."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from lambdas.load.plan import source_changed
from pipeline.manifest import ManifestStore
from star_schema.tables import star_table


class Store:
    """Manifests that say in which run each table changed last."""

    def __init__(self, **changed_in: int) -> None:
        self._tables = {name: SimpleNamespace(changed_in=run) for name, run in changed_in.items()}

    def read(self, sequence: int) -> Any:
        return SimpleNamespace(sequence=sequence, tables=self._tables)


@pytest.mark.parametrize(
    ("changed_in", "after", "is_changed"),
    [
        ({"staff": 3, "department": 1}, 2, True),
        ({"staff": 1, "department": 3}, 2, True),
        ({"staff": 3, "department": 1}, 3, False),
        ({"staff": 2, "department": 2, "design": 5}, 2, False),
        ({"staff": 1}, 4, True),
        ({"staff": 1}, 5, False),
    ],
)
def test_a_star_table_has_changed_if_one_of_its_sources_has_or_is_missing(
    changed_in: dict[str, int], after: int, is_changed: bool
) -> None:
    changed = source_changed(cast(ManifestStore, Store(**changed_in)))

    assert changed(star_table("dim_staff"), after, 5) is is_changed
