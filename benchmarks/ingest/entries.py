"""The contenders: the limit, ours, and the peers."""

import sys
from typing import Final

from benchmarks.ingest.contenders.task import TABLE
from benchmarks.ingest.source import PSQL
from benchmarks.measure import ROOT, Contender

PEERS_ENVIRONMENT: Final = ROOT / ".venv-bench"
PEERS_PACKAGES: Final = (
    "adbc-driver-postgresql",
    "connectorx",
    "dlt",
    "duckdb",
    "pandas",
    "polars",
    "psycopg",
    "pyarrow",
    "sqlalchemy",
)
"""The packages of the peers' environment whose versions the outcome names."""
_PEERS_PYTHON = str(PEERS_ENVIRONMENT / "bin" / "python")


def _script(module: str, *arguments: str, python: str = _PEERS_PYTHON) -> tuple[str, ...]:
    return (python, "-m", f"benchmarks.ingest.contenders.{module}", *arguments)


LIMIT: Final = Contender(
    "limit: psql \\copy to /dev/null",
    (PSQL, "--quiet", "--no-psqlrc", "--command", f"\\copy {TABLE} to /dev/null"),
)
OURS: Final = (
    Contender("ours (1 reader)", _script("ours", "1", python=sys.executable)),
    Contender("ours (2 readers)", _script("ours", "2", python=sys.executable)),
)
PEERS: Final = (
    Contender("connectorx, 2 partitions", _script("connectorx", "2")),
    Contender("connectorx, 1 partition", _script("connectorx", "1")),
    Contender("dlt, connectorx back end", _script("dlt", "connectorx")),
    Contender("dlt, pyarrow back end", _script("dlt", "pyarrow")),
    Contender("ADBC", _script("adbc")),
    Contender("DuckDB postgres scanner, 2 threads", _script("duckdb")),
    Contender("polars.read_database_uri", _script("polars")),
    # The pipeline's PySpark: the version of the build is of interest.
    Contender(
        "Spark JDBC, 2 partitions",
        _script("spark_jdbc", python=sys.executable),
        prepare=_script("spark_jdbc", "fetch", python=sys.executable),
    ),
    Contender("pandas.read_sql", _script("pandas")),
)
