"""The star schema of one moment: every row that the source, as it stands, makes."""

import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pycountry
from psycopg import sql
from psycopg.rows import dict_row

Row = dict[str, Any]
"""A row's values by column, without record id, is_deleted and run_id."""

Rows = dict[Any, Row]
"""Rows by natural key."""

RECORD_IDS = {
    "fact_sales_order": "sales_record_id",
    "fact_purchase_order": "purchase_record_id",
    "fact_payment": "payment_record_id",
}
"""The facts, each with the name of its own key."""

DIMENSION_KEYS = {
    "dim_date": "date_id",
    "dim_staff": "staff_id",
    "dim_location": "location_id",
    "dim_currency": "currency_id",
    "dim_design": "design_id",
    "dim_counterparty": "counterparty_id",
    "dim_payment_type": "payment_type_id",
    "dim_transaction": "transaction_id",
}
"""The dimensions, each with the name of its key."""

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_FIRST_DAY, _LAST_DAY = date(1900, 1, 1), date(2199, 12, 31)
_WHOLE_DIGITS = 28
_DECIMAL_PLACES = 10


class MalformedError(Exception):
    """A value that no fact can hold."""


def natural_key(fact: str) -> str:
    """Returns the name of a fact's natural key: fact_payment gives payment_id."""
    return f"{fact.removeprefix('fact_')}_id"


def dimension_rows(source: psycopg.Connection) -> dict[str, Rows]:
    """Returns the rows of every dimension but dim_date, whose years only grow (see `calendar`)."""
    department, address = _read(source, "department"), _read(source, "address")
    return {
        "dim_staff": {
            key: {
                "staff_id": key,
                "first_name": row["first_name"],
                "last_name": row["last_name"],
                "department_name": department[row["department_id"]]["department_name"],
                "location": department[row["department_id"]]["location"],
                "email_address": row["email_address"],
            }
            for key, row in _read(source, "staff").items()
        },
        "dim_location": {
            key: {
                "location_id": key,
                "address_line_1": row["address_line_1"],
                "address_line_2": row["address_line_2"],
                "district": row["district"],
                "city": row["city"],
                "postal_code": row["postal_code"],
                "country": row["country"],
                "phone": row["phone"],
            }
            for key, row in address.items()
        },
        "dim_currency": {
            key: {
                "currency_id": key,
                "currency_code": row["currency_code"],
                "currency_name": _currency_name(row["currency_code"]),
            }
            for key, row in _read(source, "currency").items()
        },
        "dim_design": {
            key: {
                "design_id": key,
                "design_name": row["design_name"],
                "file_location": row["file_location"],
                "file_name": row["file_name"],
            }
            for key, row in _read(source, "design").items()
        },
        "dim_counterparty": {
            key: _counterparty(row, address[row["legal_address_id"]])
            for key, row in _read(source, "counterparty").items()
        },
        "dim_payment_type": {
            key: {"payment_type_id": key, "payment_type_name": row["payment_type_name"]}
            for key, row in _read(source, "payment_type").items()
        },
        "dim_transaction": {
            key: {
                "transaction_id": key,
                "transaction_type": row["transaction_type"],
                "sales_order_id": row["sales_order_id"],
                "purchase_order_id": row["purchase_order_id"],
            }
            for key, row in _read(source, "transaction").items()
        },
    }


def fact_rows(source: psycopg.Connection) -> dict[str, dict[Any, Row | None]]:
    """Returns the rows of every fact; None stands for a row of which no fact can be made."""
    makers: dict[str, Callable[[Row], Row]] = {
        "fact_sales_order": _sales_order,
        "fact_purchase_order": _purchase_order,
        "fact_payment": _payment,
    }
    return {
        fact: {
            key: _made(make, row) for key, row in _read(source, fact.removeprefix("fact_")).items()
        }
        for fact, make in makers.items()
    }


def mentioned_years(facts: dict[str, dict[Any, Row | None]]) -> set[int]:
    """Returns the years that facts mention."""
    return {
        value.year
        for rows in facts.values()
        for row in rows.values()
        if row is not None
        for name, value in row.items()
        if name.endswith("_date")
    }


def calendar(years: Iterable[int]) -> Rows:
    """Returns the rows of dim_date: whole years from the first to the last, without gaps."""
    known = sorted(years)
    if not known:
        return {}
    first, last = date(known[0], 1, 1), date(known[-1], 12, 31)
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return {
        day: {
            "date_id": day,
            "year": day.year,
            "month": day.month,
            "day": day.day,
            "day_of_week": day.isoweekday(),
            "day_name": _DAYS[day.weekday()],
            "month_name": _MONTHS[day.month - 1],
            "quarter": (day.month + 2) // 3,
        }
        for day in days
    }


def _read(source: psycopg.Connection, table: str) -> Rows:
    with source.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(sql.SQL("select * from {}").format(sql.Identifier(table))).fetchall()
    return {row[f"{table}_id"]: row for row in rows}


def _currency_name(code: str) -> str:
    known = pycountry.currencies.get(alpha_3=code)
    return code if known is None else str(known.name)


def _counterparty(row: Row, address: Row) -> Row:
    return {
        "counterparty_id": row["counterparty_id"],
        "counterparty_legal_name": row["counterparty_legal_name"],
        "counterparty_legal_address_line_1": address["address_line_1"],
        "counterparty_legal_address_line_2": address["address_line_2"],
        "counterparty_legal_district": address["district"],
        "counterparty_legal_city": address["city"],
        "counterparty_legal_postal_code": address["postal_code"],
        "counterparty_legal_country": address["country"],
        "counterparty_legal_phone_number": address["phone"],
    }


def _made(make: Callable[[Row], Row], row: Row) -> Row | None:
    try:
        return make(row)
    except MalformedError:
        return None


def _sales_order(row: Row) -> Row:
    return {
        "sales_order_id": row["sales_order_id"],
        **_moments(row),
        "sales_staff_id": row["staff_id"],
        "counterparty_id": row["counterparty_id"],
        "units_sold": row["units_sold"],
        "unit_price": exact_amount(row["unit_price"]),
        "currency_id": row["currency_id"],
        "design_id": row["design_id"],
        "agreed_payment_date": business_date(row["agreed_payment_date"]),
        "agreed_delivery_date": business_date(row["agreed_delivery_date"]),
        "agreed_delivery_location_id": row["agreed_delivery_location_id"],
    }


def _purchase_order(row: Row) -> Row:
    return {
        "purchase_order_id": row["purchase_order_id"],
        **_moments(row),
        "staff_id": row["staff_id"],
        "counterparty_id": row["counterparty_id"],
        "item_code": row["item_code"],
        "item_quantity": row["item_quantity"],
        "item_unit_price": exact_amount(row["item_unit_price"]),
        "currency_id": row["currency_id"],
        "agreed_delivery_date": business_date(row["agreed_delivery_date"]),
        "agreed_payment_date": business_date(row["agreed_payment_date"]),
        "agreed_delivery_location_id": row["agreed_delivery_location_id"],
    }


def _payment(row: Row) -> Row:
    return {
        "payment_id": row["payment_id"],
        **_moments(row),
        "transaction_id": row["transaction_id"],
        "counterparty_id": row["counterparty_id"],
        "payment_amount": exact_amount(row["payment_amount"]),
        "currency_id": row["currency_id"],
        "payment_type_id": row["payment_type_id"],
        "paid": row["paid"],
        "payment_date": business_date(row["payment_date"]),
    }


def _moments(row: Row) -> Row:
    created: datetime = row["created_at"]
    updated: datetime = row["last_updated"]
    if not (is_in_calendar(created.date()) and is_in_calendar(updated.date())):
        raise MalformedError
    return {
        "created_date": created.date(),
        "created_time": created.time(),
        "last_updated_date": updated.date(),
        "last_updated_time": updated.time(),
    }


def is_in_calendar(day: date) -> bool:
    """Returns whether dim_date may hold a day."""
    return _FIRST_DAY <= day <= _LAST_DAY


def business_date(text: str | None) -> date:
    """Returns the date of a text; raises MalformedError if no fact can hold it."""
    if text is None or not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise MalformedError
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise MalformedError from error
    if not is_in_calendar(day):
        raise MalformedError
    return day


def exact_amount(value: Decimal | None) -> Decimal:
    """Returns an amount; raises MalformedError if no fact can hold it."""
    if value is None or not value.is_finite():
        raise MalformedError
    # As text: Decimal's own arithmetic would round to its context's precision.
    whole, _, fraction = format(value, "f").lstrip("-").partition(".")
    if len(whole) > _WHOLE_DIGITS or len(fraction.rstrip("0")) > _DECIMAL_PLACES:
        raise MalformedError
    return value
