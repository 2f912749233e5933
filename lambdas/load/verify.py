"""Holds the warehouse against the source: exact counts, and exact sums of same-named columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from lambdas.load.catalog import WarehouseTable, read_star_tables
from lambdas.load.lake import Lake, Malformed
from pipeline.errors import VerificationFailed

_SOURCE_OF = {"dim_location": "address"}
"""Star tables that are not named after their source."""

_LIVE_DIMENSION: LiteralString = """
select false as is_waiting {columns}
from {table}
where not is_deleted
"""

# What waits for its dimension stands for its key, unless a later version has been loaded.
_LIVE_FACT: LiteralString = """
with waiting as (
    select distinct on (row.{natural_key}) row.*
    from fact_quarantine as held
    cross join lateral jsonb_populate_record(null::{table}, held.content) as row
    where held.table_name = {name}
    order by row.{natural_key}, row.{key} desc
),
newest as (
    select *
    from waiting
    where not exists (
        select
        from {table} as later
        where later.{natural_key} = waiting.{natural_key} and later.{key} > waiting.{key}
    )
)
select false as is_waiting {columns}
from {view} as shown
where not exists (select from newest where newest.{natural_key} = shown.{natural_key})
    and shown.{natural_key} <> all (%(malformed)s)
union all
select true {columns}
from newest
where not is_deleted and {natural_key} <> all (%(malformed)s)
"""


@dataclass(frozen=True)
class VerifiedTable:
    """A star table that equals its source.

    Attributes:
        table: The star table.
        rows: The source's rows that it shows.
        quarantined: The source's rows that wait in a quarantine instead.
    """

    table: str
    rows: int
    quarantined: int


@dataclass(frozen=True)
class _Total:
    """What rows add up to: their number, the sum of each column, how many of them wait."""

    rows: int
    sums: dict[str, Decimal]
    waiting: int


def verify(
    connection: psycopg.Connection, lake: Lake, fingerprints: Mapping[str, Mapping[str, Any]]
) -> tuple[VerifiedTable, ...]:
    """Compares every star table that has a source of its own with the source's fingerprint.

    A source row has to be shown or to wait in a quarantine, exactly. Where the lake's quarantine
    holds malformed rows, they may have been corrected or deleted since without a trace: the
    totals have to be equal with all of them or with none.

    Args:
        connection: The warehouse.
        lake: The star schema, for its quarantine.
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
        columns = [column.name for column in table.columns if column.name in source["sums"]]
        wanted = {name: Decimal(source["sums"][name]) for name in columns}
        malformed = lake.malformed(table, f"{stem}_id") if table.is_fact else ()
        totals = [_add_up(connection, table, columns, ())]
        if malformed:
            totals.append(_add_up(connection, table, columns, malformed))
        total = next(
            (one for one in totals if one.rows == source["rows"] and one.sums == wanted), None
        )
        if total is None:
            differences += _differences(table.name, source["rows"], wanted, totals[-1])
        else:
            verified.append(
                VerifiedTable(table.name, total.rows - total.waiting, quarantined=total.waiting)
            )
    if differences:
        raise VerificationFailed(
            "the warehouse differs from the source: "
            + "; ".join(differences)
            + '. Start the state machine with {"rebuild": true}; if that does not mend it, with '
            '{"full_refresh": true, "rebuild": true}'
        )
    return tuple(verified)


def _differences(table: str, rows: int, sums: Mapping[str, Decimal], total: _Total) -> list[str]:
    waiting = f" ({total.waiting} of them in quarantine)" if total.waiting else ""
    found = [f"{table} has {total.rows} rows{waiting}, its source {rows}"]
    return [
        *(found if total.rows != rows else []),
        *(
            f"{table}.{name} adds up to {total.sums[name]}{waiting}, its source to {wanted}"
            for name, wanted in sums.items()
            if total.sums[name] != wanted
        ),
    ]


def _add_up(
    connection: psycopg.Connection,
    table: WarehouseTable,
    columns: list[str],
    malformed: tuple[Malformed, ...],
) -> _Total:
    """Adds up the live rows of a table, with malformed source rows in the place of their keys."""
    stem = table.name.split("_", 1)[1]
    live = sql.SQL(_LIVE_FACT if table.is_fact else _LIVE_DIMENSION).format(
        columns=sql.SQL("").join(sql.SQL(", {}").format(sql.Identifier(name)) for name in columns),
        table=sql.Identifier(table.name),
        name=sql.Literal(table.name),
        view=sql.Identifier(f"current_{stem}"),
        key=sql.Identifier(table.key),
        natural_key=sql.Identifier(f"{stem}_id"),
    )
    sums = [
        sql.SQL("coalesce(trim_scale(sum({}::numeric)), 0)").format(sql.Identifier(name))
        for name in columns
    ]
    query = sql.SQL("select {} from ({}) as live").format(
        sql.SQL(", ").join(
            [sql.SQL("count(*)"), sql.SQL("count(*) filter (where is_waiting)"), *sums]
        ),
        live,
    )
    keys = [one.natural_key for one in malformed]
    rows, waiting, *found = connection.execute(query, {"malformed": keys}).fetchone() or ()
    return _Total(
        rows=rows + len(malformed),
        sums={
            name: sum((_number(one.values.get(name)) for one in malformed), value)
            for name, value in zip(columns, found, strict=True)
        },
        waiting=waiting + len(malformed),
    )


def _number(value: Any) -> Decimal:
    return Decimal(0) if value is None else Decimal(str(value))
