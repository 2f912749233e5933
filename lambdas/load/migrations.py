"""Migrations of the warehouse's schema: each is applied once, and never changes afterwards."""

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import LiteralString

import psycopg
from psycopg import sql

from pipeline.errors import MigrationFailed

_LOCK = 7_065_636_001
"""The advisory lock of the migrations: a number that nothing else uses."""
_IS_INSTALLED: LiteralString = """
select exists (
    select
    from pg_tables
    where schemaname = current_schema() and tablename = 'schema_migration'
)
"""


@dataclass(frozen=True)
class Migration:
    """A migration: its file's name, its SQL, and the SHA-256 of the SQL."""

    name: str
    statements: str
    checksum: str


def migrations() -> tuple[Migration, ...]:
    """Returns the migrations of this package, in the order of their numbers."""
    files = resources.files("lambdas.load") / "migrations"
    return tuple(
        Migration(file.name, text, hashlib.sha256(text.encode()).hexdigest())
        for file in sorted(files.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".sql")
        for text in [file.read_text()]
    )


def migrate(connection: psycopg.Connection, steps: tuple[Migration, ...]) -> tuple[str, ...]:
    """Applies the migrations that the warehouse lacks, in one transaction.

    Args:
        connection: A connection outside any transaction.
        steps: All migrations.

    Returns:
        The names of those that were applied.

    Raises:
        MigrationFailed: One failed (none is applied then), or differs from what was applied.
    """
    with connection.transaction():
        connection.execute("select pg_catalog.pg_advisory_xact_lock(%s)", [_LOCK])
        # `if not exists` would need the right to create tables also where there is the table.
        if connection.execute(_IS_INSTALLED).fetchone() != (True,):
            connection.execute(
                "create table schema_migration ("
                "name varchar primary key, checksum varchar not null, "
                "applied_at timestamptz not null default clock_timestamp())"
            )
        applied: dict[str, str] = dict(
            connection.execute("select name, checksum from schema_migration").fetchall()
        )
        for step in steps:
            if applied.get(step.name, step.checksum) != step.checksum:
                raise MigrationFailed(
                    f"{step.name} was changed after it had been applied: restore its text, and "
                    "write a new migration for the change"
                )
        todo = [step for step in steps if step.name not in applied]
        for step in todo:
            _apply(connection, step)
    return tuple(step.name for step in todo)


def _apply(connection: psycopg.Connection, step: Migration) -> None:
    try:
        connection.execute(sql.SQL(step.statements))
    except psycopg.errors.OperationalError:
        raise
    except psycopg.Error as error:
        said = "; ".join(filter(None, (error.diag.message_primary, error.diag.message_detail)))
        raise MigrationFailed(
            f"{step.name}: {said}; it was rolled back: remove the obstacle, or fix the "
            "file and redeploy"
        ) from error
    connection.execute(
        "insert into schema_migration (name, checksum) values (%s, %s)", [step.name, step.checksum]
    )
