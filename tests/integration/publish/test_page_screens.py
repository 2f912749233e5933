"""The page of a run in a real browser: screens, accessibility, hostile text."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from lambdas.publish.page.render import render
from tests.unit.publish.test_page import HOSTILE, REQUEST, facts

SCREENS: dict[str, dict[str, Any]] = {
    "desktop-light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "phone-dark": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}


@pytest.mark.parametrize("screen", SCREENS)
def test_a_page_is_accessible_fits_every_screen_and_asks_for_nothing(
    browser: Browser, axe: str, tmp_path: Path, screen: str
) -> None:
    failed = dataclasses.replace(REQUEST, failure=f"Ingest failed with SourceBusy: {HOSTILE}")
    (tmp_path / "run.html").write_text(render(facts(failed, text=HOSTILE, lines=3)))
    page = browser.new_page(**SCREENS[screen], bypass_csp=True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(dialog.message))

    page.goto((tmp_path / "run.html").as_uri())

    assert len(asked) == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate(axe)
    violations = page.evaluate(
        "axe.run({resultTypes: ['violations']}).then(found => found.violations.map("
        "one => `${one.id}: ${one.nodes[0].html} ${one.nodes[0].failureSummary}`))"
    )
    assert violations == []
    page.close()
