"""The pages in a real browser: filters, links, history, screens, accessibility, hostile text."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard import warehouse
from dashboard.queries import PAGES
from dashboard.warehouse import Freshness, connecting
from lambdas.load.migrations import migrate, migrations
from local.deployment import ROOT
from local.postgres import PostgresServer
from pipeline.secret import Login
from tests.fixtures.waiting import wait_until
from tests.integration.dashboard.conftest import PASSWORD, login, served
from tests.integration.dashboard.world import BEFORE, HOSTILE, NOW, SALES, latest, newest, totals

OpenPage = Callable[..., Page]
SCREENS = {
    "desktop-light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "desktop-dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone-dark": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}
ADDRESSES = {
    **{name: f"/{name}" for name in PAGES},
    "filtered": "/sales?currency=1&counterparty=1&as_of=2026-03-01",
    "nothing": "/purchases?start=1999-01-01&end=1999-01-02",
    "problem": "/sales?currency=pounds",
    "life": "/trace/fact_sales_order/7",
    "life-without-stack": "/trace/fact_sales_order/404",
}


@pytest.fixture(scope="module")
def screenshots() -> Path:
    """Where the screenshots go: continuous integration keeps them."""
    folder = ROOT / ".local" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def shown_totals(page: Page) -> dict[str, str]:
    page.wait_for_load_state()  # the figures come after the head of the page
    cards = page.locator("ul.totals > li").all()
    return {card.locator("h3").inner_text(): card.inner_text() for card in cards}


def test_filters_chosen_by_keyboard_hold_together_and_are_in_the_address(
    open_page: OpenPage, browser: Browser
) -> None:
    page = open_page("/sales")
    page.locator("form summary", has_text="Currency").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.locator("form summary", has_text="Staff").press("Enter")
    page.get_by_label("Zoë Marsh 2").press("Space")
    page.get_by_role("button", name="Apply").press("Enter")

    expect(page.get_by_role("list", name="Chosen filters")).to_contain_text("Staff: Zoë Marsh 2")
    assert "currency=3" in page.url
    assert "staff=2" in page.url
    chosen = [
        fact
        for fact in latest(SALES)
        if fact.values["currency_id"] == 3 and fact.values["sales_staff_id"] == 2
    ]
    (count, amount) = totals(chosen, "unit_price", "units_sold")["EUR"]
    cards = shown_totals(page)
    assert list(cards) == ["EUR"]
    assert f"{amount:,.2f}" in cards["EUR"]
    assert f"{count} orders" in cards["EUR"]
    again = open_page(page.url.removeprefix(page.evaluate("location.origin")))
    assert shown_totals(again) == cards


def test_a_category_is_a_link_that_adds_and_removes_its_filter(open_page: OpenPage) -> None:
    page = open_page("/sales?currency=1")

    page.locator("#by_country").get_by_role("link", name="Japan").click()
    assert "currency=1" in page.url
    assert "country=Japan" in page.url
    page.locator("#by_country").get_by_role("link", name="Japan").click()

    assert "country=" not in page.url
    page.go_back()
    assert "country=Japan" in page.url


def test_a_category_without_a_name_can_be_chosen(open_page: OpenPage) -> None:
    page = open_page("/sales")

    page.locator("#by_country").get_by_role("link", name="(empty)").click()

    assert "country=" in page.url
    (count, _) = totals(
        [fact for fact in latest(SALES) if fact.values["counterparty_id"] == 3], "units_sold"
    )["EUR"]
    assert f"{count} orders" in shown_totals(page)["EUR"]
    expect(page.locator("#by_country tr.chosen")).to_have_count(1)


def test_a_row_of_the_present_selection_leads_to_its_life(open_page: OpenPage) -> None:
    page = open_page("/sales?currency=1")
    rows = page.locator("#newest tbody tr")
    chosen = [fact for fact in SALES if fact.values["currency_id"] == 1]
    expect(rows.locator("th")).to_have_text([str(key) for key in newest(chosen)])
    page.locator("#newest").get_by_role("link", name="7", exact=True).click()

    assert page.url.endswith("/trace/fact_sales_order/7")
    expect(page.get_by_role("heading", level=1)).to_have_text("fact_sales_order 7")
    expect(page.get_by_role("status")).not_to_be_visible()
    page.get_by_role("link", name="dim_currency 1").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("dim_currency 1")


def test_text_of_the_parts_is_shown_as_text(open_page: OpenPage) -> None:
    page = open_page("/trace/fact_sales_order/7")

    expect(page.get_by_role("cell", name=HOSTILE, exact=True)).to_have_count(2)
    expect(page.get_by_text(f"it breaks the rule: {HOSTILE}")).to_be_visible()
    expect(page.get_by_text(f"lake: {HOSTILE}")).to_be_visible()
    assert page.locator("img").count() == 0


def test_a_stack_that_is_away_is_told_with_the_command(open_page: OpenPage) -> None:
    page = open_page("/trace/fact_sales_order/404")

    expect(page.get_by_role("alert")).to_contain_text("start it with `make run`")
    expect(page.locator("pre")).to_have_text("make trace TABLE=fact_sales_order KEY=404")


def test_a_month_is_a_link_to_its_days(open_page: OpenPage) -> None:
    page = open_page("/sales")
    page.get_by_text("Table of value by month").click()
    page.locator("#by_month").get_by_role("link", name="2026-02").click()

    assert "start=2026-02-01&end=2026-02-28" in page.url


def test_the_other_pages_keep_the_filters_and_say_which_they_do_not_apply(
    open_page: OpenPage,
) -> None:
    page = open_page("/sales?currency=2&staff=1")
    page.get_by_role("link", name="Payments").click()

    assert page.url.endswith("/payments?currency=2&staff=1")
    expect(page.get_by_text("Not applied on this page: staff.")).to_be_visible()
    assert list(shown_totals(page)) == ["USD"]


def test_history_is_a_day_and_says_what_it_shows(open_page: OpenPage) -> None:
    page = open_page("/sales")
    page.get_by_label("As of the end of").fill(BEFORE.isoformat())
    page.get_by_role("button", name="Apply").click()

    assert f"as_of={BEFORE}" in page.url
    note = page.get_by_role("note")
    expect(note).to_contain_text("Dimensions show their latest state")
    expected = totals(latest(SALES, run=1), "unit_price", "units_sold")
    for currency, text in shown_totals(page).items():
        assert f"{expected[currency][1]:,.2f}" in text
    note.get_by_role("link", name="Show now").click()
    assert "as_of" not in page.url


def test_freshness_and_what_waits_are_at_the_top_of_each_page(open_page: OpenPage) -> None:
    page = open_page("/payments")

    top = page.get_by_role("banner")
    expect(top).to_contain_text("Data as of 2026-03-02 15:30 UTC")
    top.get_by_role("link", name="1 row waits").click()
    expect(page.get_by_role("main")).to_contain_text("dim_currency has no currency_id")


def test_the_top_claims_no_completeness_that_is_not_known(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon = datetime.datetime.combine(NOW, datetime.time(12), datetime.UTC)
    unknown = Freshness(2, 0, None, noon, noon, 0)
    monkeypatch.setattr("dashboard.warehouse.Reading.freshness", lambda _reading: unknown)
    top = open_page("/payments").get_by_role("banner")

    expect(top).to_contain_text("Loaded through the snapshot of 2026-03-02 12:00 UTC")
    expect(top).to_contain_text("completeness not known")
    expect(top).not_to_contain_text("Data as of")


def test_text_of_the_data_is_shown_as_text(open_page: OpenPage) -> None:
    page = open_page("/sales")

    links = page.locator("#by_counterparty").get_by_role("link", name=HOSTILE, exact=True)
    assert [link.inner_text() for link in links.all()] == [HOSTILE, HOSTILE]
    assert page.locator("img").count() == 0
    assert page.locator("main script").count() == 0


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", ADDRESSES)
def test_every_page_is_accessible_and_fits_every_screen(
    open_page: OpenPage, axe: str, screenshots: Path, name: str, screen: str
) -> None:
    page = open_page(ADDRESSES[name], **SCREENS[screen])
    page.screenshot(path=screenshots / f"{name}-{screen}.png", full_page=True)

    page.evaluate("document.querySelectorAll('.card > details').forEach(one => one.open = true)")
    page.evaluate(axe)
    violations = page.evaluate(
        "axe.run({resultTypes: ['violations']}).then(found => found.violations.map("
        "one => `${one.id}: ${one.nodes[0].html} ${one.nodes[0].failureSummary}`))"
    )
    assert violations == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    red, green, blue = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert (red + green + blue < 128 * 3) == screen.endswith("dark")


def test_a_page_without_rows_says_so(open_page: OpenPage) -> None:
    page = open_page(ADDRESSES["nothing"])

    expect(page.get_by_role("heading", name="No purchases match")).to_be_visible()


def test_a_warehouse_before_its_first_load_says_so(
    browser: Browser, server: PostgresServer, warehouse_url: str
) -> None:
    with psycopg.connect(server.create_database("new"), autocommit=True) as connection:
        migrate(connection, migrations())
        connection.execute("grant usage on schema public to totesys_reporting")
    with served(connecting(login(server, "new"))) as url:
        page = browser.new_page()
        for name in PAGES:
            page.goto(f"{url}/{name}")
            expect(page.get_by_role("banner")).to_contain_text("Nothing is loaded yet")
            expect(page.get_by_role("alert")).to_have_count(0)
        page.goto(f"{url}/sales")
        expect(page.get_by_role("heading", level=2)).to_have_text("Nothing is loaded yet")
        page.close()


def test_a_warehouse_that_cannot_be_read_is_named(
    browser: Browser, server: PostgresServer, warehouse_url: str
) -> None:
    with psycopg.connect(server.create_database("older"), autocommit=True) as connection:
        migrate(connection, tuple(one for one in migrations() if one.name < "0006"))
        connection.execute("grant usage on schema public to totesys_reporting")
    server.create_database("empty")
    reader = login(server, "warehouse")
    stranger = Login({**reader.keywords, "user": "stranger"}, PASSWORD)
    with psycopg.connect(warehouse_url, autocommit=True) as connection:
        connection.execute(f"create role stranger login password '{PASSWORD}'")
    for wanted, title in (
        (login(server, "empty"), "This database has no warehouse"),
        (login(server, "older"), "or one of an earlier version"),
        (login(server, "absent"), "The warehouse refused the connection"),
        (Login(reader.keywords, "wrong"), "The warehouse refused the connection"),
        (Login({**reader.keywords, "port": "1"}, PASSWORD), "The warehouse cannot be reached"),
        (stranger, "grant it totesys_reporting"),
    ):
        with served(connecting(wanted)) as url:
            page = browser.new_page()
            answer = page.goto(f"{url}/sales")
            assert answer is not None
            assert answer.status == 503
            expect(page.get_by_role("alert")).to_contain_text(title)
            page.close()


def test_a_connection_that_is_lost_while_the_figures_are_counted_is_told_once(
    browser: Browser, address: str, warehouse_url: str
) -> None:
    page = browser.new_page()
    with psycopg.connect(warehouse_url) as connection:
        connection.execute("lock table fact_sales_order in access exclusive mode")
        page.goto(f"{address}/sales", wait_until="commit")
        ended: LiteralString = (
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'totesys-dashboard' and wait_event_type = 'Lock'"
        )
        wait_until(lambda: connection.execute(ended).fetchall())
    expect(page.get_by_role("alert")).to_have_count(1)
    expect(page.get_by_role("alert")).to_contain_text("The warehouse cannot be reached")
    expect(page.get_by_role("status")).not_to_be_visible()
    page.close()


def test_a_query_that_takes_too_long_is_told_below_the_filters(
    open_page: OpenPage, warehouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(warehouse._SETTINGS, "statement_timeout", "300ms")
    with psycopg.connect(warehouse_url) as connection:
        connection.execute("lock table fact_sales_order in access exclusive mode")
        page = open_page("/sales")
        expect(page.get_by_role("alert")).to_contain_text("took too long")
        expect(page.get_by_role("button", name="Apply")).to_be_visible()


def test_the_head_is_painted_before_the_charts_are_counted(
    open_page: OpenPage, browser: Browser, address: str, warehouse_url: str
) -> None:
    page = browser.new_page()
    with psycopg.connect(warehouse_url) as connection:
        connection.execute("lock table fact_sales_order in access exclusive mode")
        page.goto(f"{address}/sales", wait_until="commit")
        expect(page.get_by_role("status")).to_contain_text("counting")
    expect(page.locator("ul.totals > li")).to_have_count(3)
    expect(page.get_by_role("status")).not_to_be_visible()
    page.close()
