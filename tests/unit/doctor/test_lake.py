"""What is looked at in the lake."""

from types import SimpleNamespace
from typing import Any

import pytest

from doctor.checks import lake
from doctor.finding import Status
from pipeline.applied_run import SEVERAL
from star_schema.tables import star_table


def test_delete_files_are_looked_for_as_data_files_are() -> None:
    deletes = [SimpleNamespace(file_path="s3://lake/star/a-deletes.parquet")]
    tasks = [
        SimpleNamespace(
            file=SimpleNamespace(file_path="s3://lake/star/a.parquet"), delete_files=deletes
        ),
        SimpleNamespace(
            file=SimpleNamespace(file_path="s3://lake/star/b.parquet"), delete_files=[]
        ),
    ]
    table: Any = SimpleNamespace(scan=lambda: SimpleNamespace(plan_files=lambda: tasks))

    assert lake._files(table) == {
        "s3://lake/star/a.parquet",
        "s3://lake/star/a-deletes.parquet",
        "s3://lake/star/b.parquet",
    }


@pytest.mark.parametrize(
    ("told", "is_well"), [("its own", True), ("", True), (SEVERAL, False), ("another", False)]
)
def test_a_table_with_rows_of_another_declaration_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, told: str, is_well: bool
) -> None:
    star = star_table("dim_design")
    catalog = SimpleNamespace(load_table=lambda name: name)
    place: Any = SimpleNamespace(
        stars=(star,), load=SimpleNamespace(glue_database="star"), is_local=True
    )
    monkeypatch.setattr(lake, "_catalog", lambda place: catalog)
    monkeypatch.setattr(lake, "run_with", lambda place, given: f"start {given}")
    monkeypatch.setattr(lake, "_declared_as", lambda _: told.replace("its own", star.digest))

    found = lake._declarations(place)

    assert (found.status is Status.OK) is is_well
    assert is_well or 'start {"rebuild": true}' in str(found)
