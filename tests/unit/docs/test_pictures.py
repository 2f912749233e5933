"""The committed pictures are what their text says, in both colour schemes."""

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from docs.pictures import draw
from local.deployment import ROOT

MIGRATIONS = "".join(
    path.read_text() for path in (ROOT / "lambdas" / "load" / "migrations").glob("*.sql")
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for pictures of the test's own."""
    monkeypatch.setattr(draw, "FOLDER", tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["draw.py", *arguments])
    return draw.main()


def test_the_committed_pictures_are_up_to_date() -> None:
    for path, text in draw.drawn().items():
        assert path.read_text(encoding="utf-8") == text, "run `make pictures`"


def test_the_check_names_a_picture_that_is_out_of_date_and_drawing_mends_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch) == 0
    (folder / "life-of-a-row-dark.svg").write_text("<svg/>")

    assert run(monkeypatch, "--check") == 1
    assert "life-of-a-row-dark.svg" in capsys.readouterr().err
    assert run(monkeypatch) == 0
    assert run(monkeypatch, "--check") == 0


def test_no_text_leaves_its_place() -> None:
    for text in draw.drawn().values():
        for element in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text"):
            words = "".join(element.itertext())
            is_row = element.get("class") == "row"
            if element.get("text-anchor") != "middle":
                end = float(element.get("x", "0")) + len(words) * (7.6 if is_row else 7.0)
                assert end < (draw.WIDTH if float(element.get("x", "0")) > 600 else 640), words


def test_the_tables_and_columns_in_the_picture_are_those_of_the_warehouse() -> None:
    text = next(iter(draw.drawn().values()))
    for name in ("fact_sales_order", "current_sales_order", "sales_record_id", "units_sold"):
        assert name in text
        assert re.search(rf"\b{name}\b", MIGRATIONS)
