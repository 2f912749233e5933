"""The star schema in DuckDB's SQL, for the limit: our SELECTs, transpiled."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.build.contenders.task import RUN_ID
from lambdas.ingest.selection import literal
from lambdas.ingest.star_selects import iso_4217
from star_schema.duckdb_sql import in_duckdb
from star_schema.sources import source_declaration
from star_schema.tables import StarTable, star_tables


def statements(files: Mapping[str, list[Path]]) -> str:
    """Returns statements that write `<star table>.parquet` for each star table.

    Args:
        files: The Parquet files of one run by source table.
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
    declaration = source_declaration(source)
    rules = declaration.rules.every if declaration else ()
    kept = " and ".join(f"({in_duckdb(rule.condition)})" for rule in rules)
    return (
        f"create view {source} as select *, 1 as _sequence "  # noqa: S608
        f"from read_parquet([{listed}], hive_partitioning = false) where {kept or 'true'}"
    )


def _copy(star: StarTable) -> str:
    select = in_duckdb(star.select)
    order = f"row_number() over (order by {star.natural_key})"
    number = f"{order} as {star.record_id}, " if star.record_id else ""
    return (
        f"copy (select {number}* exclude (_sequence), "  # noqa: S608
        f"false as is_deleted, '{RUN_ID}' as run_id "
        f"from ({select})) to '{star.name}.parquet' (format parquet, compression zstd)"
    )
