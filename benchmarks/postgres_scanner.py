"""DuckDB with its PostgreSQL scanner and two threads."""

from pathlib import Path

import duckdb
import duckdb_extension_postgres_scanner


def connect() -> duckdb.DuckDBPyConnection:
    """Returns a DuckDB connection with the scanner loaded."""
    package = Path(duckdb_extension_postgres_scanner.__file__).parent
    extension = next(package.glob("extensions/*/postgres_scanner.duckdb_extension"))
    connection = duckdb.connect(config={"threads": 2})
    connection.execute(f"load '{extension}'")
    return connection
