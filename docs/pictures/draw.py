"""Draws the life of a row: `make pictures` writes the SVG files, `--check` compares them.

The text is in life-of-a-row.toml. Each colour scheme is a file of its own, because a page chooses
the file by its own scheme: `<picture>` in README.md.
"""

import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

FOLDER: Final = Path(__file__).parent
_SOURCE: Final = FOLDER / "life-of-a-row.toml"
WIDTH: Final = 880
_LEFT: Final = 24
_CARD_WIDTH: Final = 600
_WAIT_LEFT: Final = 672
_WAIT_WIDTH: Final = 184
_LINE: Final = 19
_STEP_LINE: Final = 18
_TOP: Final = 72
_GAP: Final = 10


@dataclass(frozen=True)
class Scheme:
    """The colours of a picture."""

    background: str
    card: str
    border: str
    text: str
    quiet: str
    accent: str
    on_accent: str
    wait: str
    wait_text: str


SCHEMES: Final = {
    "light": Scheme(
        background="#ffffff",
        card="#f6f8fa",
        border="#d0d7de",
        text="#1f2328",
        quiet="#59636e",
        accent="#0550ae",
        on_accent="#ffffff",
        wait="#fff8c5",
        wait_text="#7d4e00",
    ),
    "dark": Scheme(
        background="#0d1117",
        card="#161b22",
        border="#3d444d",
        text="#f0f6fc",
        quiet="#9198a1",
        accent="#79c0ff",
        on_accent="#0d1117",
        wait="#2e2305",
        wait_text="#e3b341",
    ),
}


def drawn() -> dict[Path, str]:
    """Returns the text of each SVG file, by path."""
    document = tomllib.loads(_SOURCE.read_text(encoding="utf-8"))
    return {
        FOLDER / f"life-of-a-row-{name}.svg": _Picture(scheme).draw(document)
        for name, scheme in SCHEMES.items()
    }


class _Picture:
    """One picture, from the top down."""

    def __init__(self, scheme: Scheme) -> None:
        self._scheme = scheme
        self._parts: list[str] = []
        self._y = _TOP

    def draw(self, document: dict[str, Any]) -> str:
        """Returns the SVG."""
        draw = {"place": self._place, "stage": self._stage, "view": self._view}
        for part in document["part"]:
            draw[part["kind"]](part)
        height = self._y + 24
        scheme = self._scheme
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
                f'width="{WIDTH}" height="{height}" role="img" aria-labelledby="title desc">',
                f'<title id="title">{escape(document["title"])}</title>',
                f'<desc id="desc">{escape(document["description"].strip())}</desc>',
                "<style>",
                "text { font: 14px ui-sans-serif, system-ui, -apple-system, 'Segoe UI', "
                "'DejaVu Sans', sans-serif; }",
                ".name { font-weight: 600; }",
                ".title { font-size: 20px; font-weight: 600; }",
                ".small { font-size: 12.5px; }",
                ".row { font: 12.5px ui-monospace, SFMono-Regular, Menlo, Consolas, "
                "'DejaVu Sans Mono', monospace; white-space: pre; }",
                "</style>",
                f'<rect width="{WIDTH}" height="{height}" rx="10" fill="{scheme.background}"/>',
                self._text(_LEFT, 42, document["title"], scheme.text, "title"),
                self._text(_WAIT_LEFT, 42, document["waits"], scheme.wait_text, "name"),
                *self._parts,
                "</svg>\n",
            ]
        )

    def _place(self, part: dict[str, Any]) -> None:
        self._card(part, dashed=False)

    def _view(self, part: dict[str, Any]) -> None:
        self._arrow(self._y, self._y + 2 * _GAP)
        self._y += 2 * _GAP + 2
        self._card(part, dashed=True)

    def _card(self, part: dict[str, Any], *, dashed: bool) -> None:
        scheme = self._scheme
        height = 34 + _LINE * len(part["rows"]) + 6
        style = 'stroke-dasharray="5 4" ' if dashed else ""
        self._parts.append(
            f'<rect x="{_LEFT}" y="{self._y}" width="{_CARD_WIDTH}" height="{height}" rx="8" '
            f'fill="{scheme.card}" stroke="{scheme.border}" {style}/>'
        )
        self._heading(_LEFT + 16, self._y + 23, part, scheme.text)
        for number, row in enumerate(part["rows"]):
            # The first of several lines is the columns' names.
            is_names = number == 0 and len(part["rows"]) > 1 and "/" not in row
            colour = scheme.quiet if is_names else scheme.text
            self._parts.append(
                self._text(_LEFT + 16, self._y + 46 + _LINE * number, row, colour, "row")
            )
        self._y += height

    def _stage(self, part: dict[str, Any]) -> None:
        scheme = self._scheme
        height = 2 * _GAP + 8 + _STEP_LINE * len(part["steps"])
        middle = self._y + height // 2
        self._arrow(self._y, self._y + height)
        self._parts.append(
            f'<rect x="{_LEFT + 6}" y="{middle - 22}" width="96" height="42" rx="21" '
            f'fill="{scheme.accent}"/>'
        )
        centre = _LEFT + 54
        for offset, text, style in ((-4, part["name"], "name"), (12, part["where"], "small")):
            self._parts.append(
                self._text(centre, middle + offset, text, scheme.on_accent, style, anchor="middle")
            )
        for number, step in enumerate(part["steps"]):
            y = self._y + _GAP + 17 + _STEP_LINE * number
            self._parts.append(self._text(_LEFT + 122, y, step, scheme.text))
        self._waits(part, middle)
        self._y += height + 2

    def _waits(self, part: dict[str, Any], middle: int) -> None:
        """Draws where a row waits that cannot go on."""
        scheme = self._scheme
        height = 28 + 16 * len(part["why"])
        top = middle - height // 2
        end = _WAIT_LEFT - 4
        self._parts += [
            f'<path d="M{_LEFT + 508} {middle} H{end}" stroke="{scheme.wait_text}" '
            'stroke-dasharray="4 4" fill="none"/>',
            f'<path d="M{end - 6} {middle - 4} L{end} {middle} L{end - 6} {middle + 4}" '
            f'stroke="{scheme.wait_text}" fill="none"/>',
            f'<rect x="{_WAIT_LEFT}" y="{top}" width="{_WAIT_WIDTH}" height="{height}" rx="8" '
            f'fill="{scheme.wait}" stroke="{scheme.wait_text}" stroke-opacity="0.5"/>',
            self._text(_WAIT_LEFT + 12, top + 20, part["waits"], scheme.wait_text, "name"),
        ]
        for number, line in enumerate(part["why"]):
            y = top + 37 + 16 * number
            self._parts.append(self._text(_WAIT_LEFT + 12, y, line, scheme.wait_text, "small"))

    def _arrow(self, top: int, bottom: int) -> None:
        colour = self._scheme.quiet
        self._parts += [
            f'<path d="M{_LEFT + 54} {top} V{bottom}" stroke="{colour}" stroke-width="2"/>',
            f'<path d="M{_LEFT + 48} {bottom - 7} L{_LEFT + 54} {bottom} L{_LEFT + 60} '
            f'{bottom - 7}" stroke="{colour}" stroke-width="2" fill="none"/>',
        ]

    def _heading(self, x: int, y: int, part: dict[str, Any], colour: str) -> None:
        self._parts.append(
            f'<text x="{x}" y="{y}"><tspan class="name" fill="{colour}">{escape(part["name"])}'
            f'</tspan><tspan class="small" dx="10" fill="{self._scheme.quiet}">'
            f"{escape(part['where'])}</tspan></text>"
        )

    @staticmethod
    def _text(x: int, y: int, text: str, colour: str, style: str = "", *, anchor: str = "") -> str:
        attributes = f' class="{style}"' if style else ""
        attributes += f' text-anchor="{anchor}"' if anchor else ""
        # An SVG in which spaces are significant needs to say so for each text.
        space = ' xml:space="preserve"' if style == "row" else ""
        return f'<text x="{x}" y="{y}" fill="{colour}"{attributes}{space}>{escape(text)}</text>'


def main() -> int:
    """Writes the pictures, or with `--check` says which of them are out of date."""
    stale = [
        path
        for path, text in drawn().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in sys.argv[1:]:
        for path in stale:
            sys.stderr.write(f"{path.name} differs from {_SOURCE.name}: run `make pictures`\n")
        return 1 if stale else 0
    for path, text in drawn().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
