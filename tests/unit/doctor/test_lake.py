"""What is looked at in the lake."""

from types import SimpleNamespace
from typing import Any

from doctor.checks import lake


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
