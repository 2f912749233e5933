"""The contenders: the limit, ours, and the peers."""

import sys
from pathlib import Path
from typing import Final

from benchmarks.ingest.entries import PEERS_ENVIRONMENT
from benchmarks.ingest.source import PSQL
from benchmarks.load.contenders.task import KEY, TABLE
from benchmarks.measure import Contender

PEERS_PACKAGES: Final = (
    "adbc-driver-postgresql",
    "dlt",
    "duckdb",
    "pgpq",
    "psycopg",
    "pyarrow",
)
"""The packages of the peers' environment whose versions the outcome names."""
OUR_PACKAGES: Final = ("awswrangler", "numpy", "psycopg", "pyarrow", "pyiceberg", "pyspark")
"""Those of the pipeline's own, which takes part with its Spark and its awswrangler too."""
_PEERS_PYTHON = str(PEERS_ENVIRONMENT / "bin" / "python")


def limit(facts: Path, what: str) -> Contender:
    """Returns the limit: psql copies an existing CSV file."""
    return _psql(f"limit: psql \\copy of CSV ({what})", facts.with_suffix(".csv"), "csv")


def ours(what: str, sequence: int, *how: str) -> Contender:
    """Returns ours.

    Args:
        what: The name of what is loaded.
        sequence: The run to load.
        how: The ways to do it (contenders/ours.py).
    """
    return Contender(
        f"{', '.join(('ours', *how))} ({what})",
        _script("load.contenders.as_deployed", str(sequence), *how, python=sys.executable),
    )


def peers(facts: Path, what: str) -> tuple[Contender, ...]:
    """Returns the peers.

    Args:
        facts: The path of the facts' files, without the suffix.
        what: The name of what is loaded.
    """
    return (
        _psql(f"psql \\copy of a binary file ({what})", facts.with_suffix(".binary"), "binary"),
        Contender(f"DuckDB insert ({what})", _script("load.contenders.duckdb")),
        Contender(f"pgpq ({what})", _script("load.contenders.pgpq")),
        Contender(f"ADBC ingest ({what})", _script("load.contenders.adbc")),
        Contender(f"dlt ({what})", _script("load.contenders.dlt")),
        Contender(
            f"Spark JDBC ({what})",
            _script("load.contenders.spark_jdbc", python=sys.executable),
            prepare=_script("ingest.contenders.spark_jdbc", "fetch", python=sys.executable),
        ),
        Contender(
            f"awswrangler.postgresql.to_sql ({what})",
            _script("load.contenders.awswrangler", python=sys.executable),
        ),
    )


def write_binary(facts: Path, first: int) -> Contender:
    """Returns the command that writes the binary file, from a warehouse that has the facts."""
    rows = f"(select * from {TABLE} where {KEY} >= {first})"  # noqa: S608
    return Contender(
        "psql writing the binary file",
        _command(f"\\copy {rows} to '{facts.with_suffix('.binary')}' (format binary)"),
    )


def _psql(name: str, path: Path, form: str) -> Contender:
    return Contender(name, _command(f"\\copy {TABLE} from '{path}' (format {form})"))


def _command(text: str) -> tuple[str, ...]:
    return (PSQL, "--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--command", text)


def _script(module: str, *arguments: str, python: str = _PEERS_PYTHON) -> tuple[str, ...]:
    return (python, "-m", f"benchmarks.{module}", *arguments)
