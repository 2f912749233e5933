"""Holds the warehouse against the source: exact counts, and exact sums of same-named columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from lambdas.load.catalog import WarehouseTable, read_star_tables
from pipeline.errors import VerificationFailed

_SOURCE_OF = {"dim_location": "address"}
"""Star tables that are not named after their source."""


@dataclass(frozen=True)
class VerifiedTable:
    """A star table that equals its source, with its number of live rows."""

    table: str
    rows: int


def verify(
    connection: psycopg.Connection, fingerprints: Mapping[str, Mapping[str, Any]]
) -> tuple[VerifiedTable, ...]:
    """Compares every star table that has a source of its own with the source's fingerprint.

    Args:
        connection: The warehouse.
        fingerprints: rows and sums (exact decimals as text) by source table, as Ingest took them.

    Raises:
        VerificationFailed: A count or a sum differs; all that differ are named.
    """
    verified: list[VerifiedTable] = []
    differences: list[str] = []
    for table in read_star_tables(connection):
        stem = table.name.split("_", 1)[1]
        source = fingerprints.get(_SOURCE_OF.get(table.name, stem))
        if source is None:
            continue
        found, columns = _add_up(connection, table, stem, source["sums"])
        expected = [Decimal(source["rows"]), *(Decimal(source["sums"][name]) for name in columns)]
        for name, wanted, got in zip(["rows", *columns], expected, found, strict=True):
            if wanted != got:
                differences.append(f"{table.name}.{name}: source {wanted}, warehouse {got}")
        verified.append(VerifiedTable(table.name, int(found[0])))
    if differences:
        raise VerificationFailed(
            "the warehouse differs from the source: "
            + "; ".join(differences)
            + "; see fact_quarantine and the lake's quarantine for rows that wait, and run "
            '{"rebuild": true} if there are none'
        )
    return tuple(verified)


def _add_up(
    connection: psycopg.Connection, table: WarehouseTable, stem: str, sums: Mapping[str, str]
) -> tuple[list[Decimal], list[str]]:
    columns = [column.name for column in table.columns if column.name in sums]
    live = (
        sql.Identifier(f"current_{stem}")
        if table.is_fact
        else sql.SQL("(select * from {} where not is_deleted)").format(sql.Identifier(table.name))
    )
    row = connection.execute(
        sql.SQL("select {} from {} as live").format(
            sql.SQL(", ").join(
                [
                    sql.SQL("count(*)::numeric"),
                    *(
                        sql.SQL("coalesce(sum({}::numeric), 0)").format(sql.Identifier(name))
                        for name in columns
                    ),
                ]
            ),
            live,
        )
    ).fetchone()
    return list(row or ()), columns
