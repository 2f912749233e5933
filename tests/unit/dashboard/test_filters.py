"""What the address of a page may ask for."""

import datetime
from urllib.parse import parse_qsl, urlsplit

import pytest

from dashboard.filters import FILTERS, FilterInvalid, Filters

TODAY = datetime.date(2026, 3, 2)


def read(address: str) -> Filters:
    return Filters.read(parse_qsl(urlsplit(address).query, keep_blank_values=True))


@pytest.mark.parametrize(
    "address",
    [
        "/sales",
        "/sales?currency=1&currency=3&country=S%C3%A3o+Tom%C3%A9+%26+Pr%C3%ADncipe",
        "/sales?country=",
        "/payments?paid=false&start=2026-01-01&end=2026-02-01&as_of=2026-03-01&whole=by_type",
    ],
)
def test_an_address_holds_everything_that_is_asked_for(address: str) -> None:
    assert read(address).address(urlsplit(address).path[1:]) == address


@pytest.mark.parametrize(
    "query",
    [
        "color=red",
        "currency=GBP",
        "currency=-1",
        "currency=2147483648",
        "currency=%D9%A1",
        "paid=maybe",
        "country=%00",
        "as_of=yesterday",
        "as_of=9999-12-31",
        "start=2026-02-30",
        "from=garbage",
        "currency=",
    ],
)
def test_what_is_unknown_or_malformed_is_refused_and_not_left_out(query: str) -> None:
    with pytest.raises(FilterInvalid):
        read(f"/sales?{query}")


def test_a_form_field_that_is_left_empty_asks_for_nothing() -> None:
    assert read("/sales?start=&end=&as_of=") == Filters()


def test_a_value_is_added_once_and_removed_again() -> None:
    one = read("/sales?currency=1&currency=1")

    assert one.address("sales") == "/sales?currency=1"
    assert one.toggled("currency", "2").toggled("currency", "1").address("sales") == (
        "/sales?currency=2"
    )


@pytest.mark.parametrize(("month", "last"), [("2024-02", "2024-02-29"), ("2026-12", "2026-12-31")])
def test_a_month_is_its_first_day_to_its_last(month: str, last: str) -> None:
    assert read("/sales").of_month(month).address("sales") == (
        f"/sales?start={month}-01&end={last}"
    )


def test_only_filters_that_the_page_applies_become_parameters() -> None:
    parameters = read("/sales?currency=1&currency=2&staff=3").parameters(["currency"], TODAY)

    assert parameters["currency"] == [1, 2]
    assert {parameters[name] for name in FILTERS if name != "currency"} == {None}


def test_the_facts_of_a_day_are_those_before_the_next_day_in_utc() -> None:
    parameters = read("/sales?as_of=2026-03-01").parameters([], TODAY)

    assert parameters["until"] == datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)
    assert parameters["reference"] == datetime.date(2026, 3, 1)
    assert read("/sales").parameters([], TODAY)["reference"] == TODAY
    assert read("/sales").parameters([], TODAY)["until"] is None
