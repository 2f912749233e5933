"""The star schema as DuckDB's SQL: what the limit runs, transpiled from the SELECTs that we run."""

from collections.abc import Mapping
from pathlib import Path

import sqlglot

from benchmarks.build.contenders.task import RUN_ID
from glue_jobs.star_schema.build import record_id_of
from glue_jobs.star_schema.rules import rules_of
from lambdas.ingest.source_reader import literal
from lambdas.ingest.star_selects import iso_4217
from pipeline.duckdb_sql import in_duckdb
from pipeline.star_sql import StarTable, star_tables


def statements(files: Mapping[str, list[Path]]) -> str:
    """Returns statements that write `<star table>.parquet` for every star table.

    Args:
        files: The Parquet files of each source table, of one run.
    """
    made = [
        iso_4217(),
        "create view dim_date as select null::date as date_id, 1 as _sequence where false",
        *(_view(source, paths) for source, paths in files.items()),
        *(_copy(star) for star in star_tables()),
    ]
    return ";\n".join(made)


def _view(source: str, paths: list[Path]) -> str:
    listed = ", ".join(literal(str(path)) for path in paths)
    kept = " and ".join(f"({in_duckdb(rule)})" for rule in rules_of(source).every.values())
    return (
        f"create view {source} as select *, 1 as _sequence "  # noqa: S608
        f"from read_parquet([{listed}], hive_partitioning = false) where {kept or 'true'}"
    )


def _copy(star: StarTable) -> str:
    select = in_duckdb(star.select)
    parsed = sqlglot.parse_one(star.select, read="spark")
    assert isinstance(parsed, sqlglot.exp.Query)  # noqa: S101 - a star table is one SELECT
    key = parsed.named_selects[0]
    number = f"row_number() over (order by {key}) as {record_id_of(star)}, " if star.is_fact else ""
    return (
        f"copy (select {number}* exclude (_sequence), "  # noqa: S608
        f"false as is_deleted, '{RUN_ID}' as run_id "
        f"from ({select})) to '{star.name}.parquet' (format parquet, compression zstd)"
    )
