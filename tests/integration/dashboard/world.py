"""The facts that the dashboard's tests show: two runs, and the figures as plain Python has them."""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import psycopg
from psycopg import sql

from lineage.trace import Referenced, Step, Trace
from lineage.warehouse_history import Load
from local.stack import NotUp
from star_schema.tables import star_table
from tests.fixtures.lake import STAR, star_row

HOSTILE: Final = '<img src=x onerror=alert(1)> & "O\'Hara" </script>'
FIRST_DAY: Final = datetime.date(2026, 1, 5)
BEFORE: Final = datetime.date(2026, 3, 1)
"""The day of the first run."""
NOW: Final = datetime.date(2026, 3, 2)
"""The day of the second run."""
COMPLETE_AS_OF: Final = datetime.datetime(2026, 3, 2, 15, 30, tzinfo=datetime.UTC)
"""When the newest execution found nothing new."""
COUNTRIES: Final = {1: "Poland", 2: "Japan", 3: ""}
PARTIES: Final = {1: HOSTILE, 2: "Müller & Söhne", 3: HOSTILE}
CURRENCIES: Final = {1: "GBP", 2: "USD", 3: "EUR"}


@dataclass(frozen=True)
class Fact:
    """A version of a sales order, or of a payment: its values and whether it has been deleted."""

    table: str
    run: int
    record: int
    key: int
    values: Mapping[str, Any]
    is_deleted: bool = False


def _sale(record: int, key: int, run: int = 1, *, gone: bool = False, **changed: Any) -> Fact:
    day = FIRST_DAY + datetime.timedelta(days=key % 60)
    values = {
        "created_date": day,
        "sales_staff_id": 1 + key % 2,
        "counterparty_id": 1 + key % 3,
        "currency_id": 1 + key % 7 % 3,
        "design_id": 1 + key % 14,
        "units_sold": 100 + key,
        "unit_price": Decimal("2.05"),
    }
    return Fact("fact_sales_order", run, record, key, values | changed, gone)


def _payment(record: int, key: int, run: int = 1, **changed: Any) -> Fact:
    values = {
        "counterparty_id": 1 + key % 3,
        "payment_amount": Decimal(key) / 100,
        "currency_id": 1 + key % 2,
        "payment_type_id": 1 + key % 2,
        "paid": key % 3 == 0,
        "payment_date": NOW - datetime.timedelta(days=key * 20 % 900 - 40),
    }
    return Fact("fact_payment", run, record, key, values | changed)


SALES: Final = (
    *(_sale(key, key) for key in range(1, 61)),
    _sale(61, 7, 2, units_sold=1_000_000),
    _sale(62, 8, 2, gone=True),
    _sale(63, 61, 2),
)
PAYMENTS: Final = (
    *(_payment(key, key) for key in range(1, 31)),
    *(_payment(30 + key, key, 2, paid=True) for key in (1, 2)),
)
PURCHASES: Final = (
    Fact("fact_purchase_order", 1, 1, 1, {"created_date": FIRST_DAY, "item_quantity": 3}),
)


def latest(facts: Iterable[Fact], run: int = 2) -> list[Fact]:
    """Returns the newest version of each fact through a run, without the deleted ones."""
    newest = {fact.key: fact for fact in facts if fact.run <= run}
    return [fact for fact in newest.values() if not fact.is_deleted]


def totals(facts: Iterable[Fact], amount: str, *factors: str) -> dict[str, tuple[int, Decimal]]:
    """Returns the count and the sum of a product for each currency."""
    sums: dict[str, tuple[int, Decimal]] = {}
    for fact in facts:
        value = Decimal(fact.values[amount])
        for factor in factors:
            value *= fact.values[factor]
        code = CURRENCIES[fact.values["currency_id"]]
        count, total = sums.get(code, (0, Decimal(0)))
        sums[code] = (count + 1, total + value)
    return sums


def newest(facts: Iterable[Fact], run: int = 2) -> list[int]:
    """Returns the keys of the 50 facts whose versions came last, the newest first."""
    found = sorted(latest(facts, run), key=lambda fact: -fact.record)
    return [fact.key for fact in found[:50]]


def follow(table: str, key: str) -> Trace:
    """Returns the life of a row, as a stack would tell it. The row 404 has no stack."""
    if key == "404":
        raise NotUp("the local cloud is not running: start it with `make run`")
    shown = Load(1, "run-1", COMPLETE_AS_OF)
    return Trace(
        table,
        star_table(table).natural_key,
        key,
        steps=[
            Step(1, "inserted", run_id="run-1", content={"note": HOSTILE}, load=shown),
            Step(2, "held back", run_id="run-2", reasons=(f"it breaks the rule: {HOSTILE}",)),
            Step(3, "changed", run_id="run-3", changes={"note": (HOSTILE, None)}),
        ],
        references=[Referenced("currency_id", "dim_currency", "1", "present")],
        source_now="the source has the row",
        equals_source=True,
        not_reached={"lake": HOSTILE},
    )


def fill(connection: psycopg.Connection) -> None:
    """Puts the facts, their dimensions, the runs and a waiting row into a migrated warehouse."""
    for number in range(-1000, 500):
        day = NOW + datetime.timedelta(days=number)
        _insert(connection, "dim_date", date_id=day, year=day.year, month=day.month)
    for number in (1, 2):
        last = f"Marsh {number}"
        _insert(connection, "dim_staff", staff_id=number, first_name="Zoë", last_name=last)
        kind = ("SALES_RECEIPT", "PURCHASE_PAYMENT")[number - 1]
        _insert(connection, "dim_payment_type", payment_type_id=number, payment_type_name=kind)
    for number, code in CURRENCIES.items():
        _insert(connection, "dim_currency", currency_id=number, currency_code=code)
    for number, party in PARTIES.items():
        _insert(
            connection,
            "dim_counterparty",
            counterparty_id=number,
            counterparty_legal_name=party,
            counterparty_legal_country=COUNTRIES[number],
        )
    for number in range(1, 16):
        _insert(connection, "dim_design", design_id=number, design_name=f"{HOSTILE[:9]}{number}")
    _insert(connection, "dim_location")
    _insert(connection, "dim_transaction")
    for fact in (*SALES, *PURCHASES, *PAYMENTS):
        record, key, *others = (column.name for column in STAR[fact.table])
        days = {name: FIRST_DAY for name in others if name.endswith("_date")}
        values = {**days, **fact.values, record: fact.record, key: fact.key}
        values["is_deleted"] = fact.is_deleted
        _insert(connection, fact.table, sequence=fact.run, **values)
    _mark_superseded(connection)
    for run, day in ((1, BEFORE), (2, NOW)):
        connection.execute(
            "insert into captured_run values (%s, %s, %s)", [run, f"run-{run}", f"{day} 12:00Z"]
        )
    connection.execute("insert into pipeline_run values (2, 'run-2', '2026-03-02 12:01Z', '{}')")
    connection.execute(
        "insert into warehouse_freshness (complete_as_of, sequence) values (%s, 2)",
        [COMPLETE_AS_OF],
    )
    connection.execute("insert into load_position select unnest(%s::varchar[]), 2", [list(STAR)])
    connection.execute(
        "insert into waiting_row (table_name, key, content, reasons) values "
        "('fact_payment', '99', '{\"secret\": 1}', "
        '\'[{"rule": "dim_currency has no currency_id", "value": 9}]\')'
    )


def _mark_superseded(connection: psycopg.Connection) -> None:
    newest: dict[tuple[str, int], int] = {}
    for fact in (*SALES, *PURCHASES, *PAYMENTS):
        if (fact.table, fact.key) in newest:
            connection.execute(
                "insert into superseded_version values (%s, %s, %s)",
                [fact.table, newest[fact.table, fact.key], fact.record],
            )
        newest[fact.table, fact.key] = fact.record


def _insert(
    connection: psycopg.Connection, table: str, *, sequence: int = 1, **values: Any
) -> None:
    row = star_row(table, sequence=sequence, **values)
    del row["_sequence"]
    connection.execute(
        sql.SQL("insert into {} ({}) values ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join([sql.Placeholder()] * len(row)),
        ),
        list(row.values()),
    )
