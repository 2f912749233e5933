"""The page of a row's life: its address, its content, and what it says without a stack."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import NoRegionError

from dashboard.app import Dashboard
from dashboard.life import Stack, address
from lineage.trace import Referenced, Step, Trace
from local.stack import NotUp
from pipeline.errors import AccessRefused
from tests.fixtures.asgi import asked

HOSTILE = "<script>alert(1)</script>\x1b[2J"
COMMAND = "make trace TABLE=fact_payment KEY=7"


def never_connect() -> Any:
    raise AssertionError("the page of a row needs no connection to the warehouse")


def get(
    path: str, follow: Callable[[str, str], Trace] | None, environment: str = ""
) -> tuple[int, str]:
    stack = Stack(follow, environment) if follow else None
    return asked(Dashboard(never_connect, "warehouse", stack).application(), path)


def life(table: str, key: str) -> Trace:
    return Trace(
        table,
        "payment_id",
        key,
        steps=[
            Step(1, "inserted", run_id="first", content={"paid": "false", "note": None}),
            Step(
                2,
                "changed",
                changes={"note": (None, HOSTILE)},
                reasons=(HOSTILE,),
                remarks=[HOSTILE],
            ),
        ],
        references=[Referenced("currency_id", "dim_currency", "1", "present")],
        source_now=HOSTILE,
        not_reached={"lake": HOSTILE},
    )


def test_a_row_is_told_as_make_trace_tells_it() -> None:
    status, shown = get("/trace/fact_payment/007", life)

    assert status == 200
    assert "<h1>fact_payment 7</h1>" in shown
    assert COMMAND in shown
    assert "2 versions" in shown
    assert "run 1: inserted, execution first" in shown
    assert '<th scope="row">paid</th><td>false</td>' in shown
    assert '<th scope="row">note</th><td>null</td>' in shown
    assert '<a href="/trace/dim_currency/1">dim_currency 1</a>' in shown


def test_the_command_names_the_stack_of_the_dashboard() -> None:
    _, shown = get("/trace/fact_payment/7", life, "prod")

    assert f"<code>{COMMAND} ENV=prod</code>" in shown


def test_text_of_the_parts_stays_text() -> None:
    _, shown = get("/trace/fact_payment/7", life)

    assert "<script" not in shown
    # The change, the reason, the note, what the source has, and the part that was not reached.
    assert shown.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 5
    assert "\\x1b" in shown


@pytest.mark.parametrize(
    "path",
    [
        "/trace/fact_payment/7 or true",
        "/trace/fact_payment/<script>",
        "/trace/fact_payment/99999999999",
        "/trace/fact_payment/",
        "/trace/dim_date/today",
        "/trace/schema_migration/1",
        "/trace/../../pyproject/1",
        "/trace/<script>/1",
    ],
)
def test_an_address_of_no_row_is_refused_before_anything_is_read(path: str) -> None:
    def never_follow(table: str, key: str) -> Trace:
        raise AssertionError((table, key))

    status, shown = get(path, never_follow)

    assert status == 404
    assert "<script" not in shown


def test_a_dashboard_that_does_not_know_the_stack_shows_the_command() -> None:
    status, shown = get("/trace/fact_payment/7", None)

    assert status == 200
    assert "knows a warehouse only" in shown
    assert f'<pre tabindex="0"><code>{COMMAND}</code></pre>' in shown


@pytest.mark.parametrize(
    "error",
    [NotUp("start it with `make run`"), AccessRefused("no right"), NoRegionError()],
    ids=["no local stack", "no right", "no region"],
)
def test_a_stack_that_is_away_is_named_with_its_reason_and_the_command(error: Exception) -> None:
    def refuse(table: str, key: str) -> Trace:
        raise error

    _, shown = get("/trace/fact_payment/7", refuse)

    assert "The stack cannot be reached" in shown
    assert str(error) in shown
    assert f'<pre tabindex="0"><code>{COMMAND}</code></pre>' in shown


def test_a_page_that_fails_when_it_is_under_way_ends_with_the_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(table: str, key: str) -> Trace:
        raise RuntimeError(HOSTILE)

    status, shown = get("/trace/fact_payment/7", fail)

    assert status == 200
    head, _, end = shown.partition("being read…</p>")
    assert "<h1>fact_payment 7</h1>" in head
    # The style hides the line that says so as soon as this element follows it.
    assert end.lstrip().startswith('<div class="cards">')
    assert "RuntimeError: &lt;script&gt;" in end
    assert end.rstrip().endswith("</html>")
    assert "RuntimeError" in caplog.text


def test_an_error_before_the_page_is_under_way_is_a_page_of_its_own() -> None:
    application = Dashboard(never_connect, "warehouse").application()

    status, shown = asked(application, "/sales")

    assert status == 500
    assert "AssertionError: the page of a row needs no connection" in shown


@pytest.mark.parametrize("path", ["/no/such/page", "/static/none.css", "/sales/2026"])
def test_an_address_of_nothing_has_a_page_that_says_so(path: str) -> None:
    status, shown = get(path, None)

    assert status == 404
    assert "There is no such page" in shown


def test_an_address_has_no_character_of_its_own() -> None:
    assert address("fact_payment", "a/b?c=<d>#e") == "/trace/fact_payment/a%2Fb%3Fc%3D%3Cd%3E%23e"
