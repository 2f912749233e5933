"""Columns of a Parquet file get names that differ by case alone."""

from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from lambdas.ingest.parquet_names import rename_columns


def test_columns_get_any_name_and_keep_their_values(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    names = {"column_of_one": "a", "column_of_another": "A", "column_of_more": "é" * 31}
    columns = ", ".join(f"n as {name}" for name in names)
    duckdb.sql(f"copy (select {columns} from range(300000) as r (n)) to '{path}' (format parquet)")

    rename_columns(path, names)

    table = pq.read_table(path)
    assert table.column_names == list(names.values())
    assert table.column("A").to_pylist() == list(range(300000))
    assert pq.ParquetFile(path).metadata.num_row_groups > 1
