"""The web application: a page on each fact, drawn from one transaction of the warehouse."""

import datetime
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from unicodedata import category

import psycopg
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from dashboard.figures import Figure, figure
from dashboard.filters import FILTERS, FilterInvalid, Filters
from dashboard.life import Life, Stack, address, life_of
from dashboard.problem import Problem
from dashboard.queries import PAGES, Page, page
from dashboard.warehouse import Connect, Freshness, Option, Reading, reading
from lineage.text import circumstances, heading, summary, value, versions
from pipeline.errors import InvalidInput, PipelineError

HOST: Final = "127.0.0.1"
_HERE: Final = Path(__file__).parent
_LOGGER: Final = logging.getLogger(__name__)
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class _View:
    """A page with what its template reads. The charts are read when the template comes to them."""

    def __init__(self, wanted: Page, filters: Filters, read: Reading) -> None:
        self.page = wanted
        self.pages = [page(name) for name in PAGES]
        self.filters = filters
        self.freshness: Freshness = read.freshness()
        self._options = read.options()
        self._read = read

    @property
    def labels(self) -> dict[str, str]:
        """The label of each filter that the page applies."""
        return {name: FILTERS[name][0] for name in self.page.filters}

    @property
    def not_applied(self) -> list[str]:
        """The labels of filters that are chosen and that the page does not apply."""
        names = {name for name, _ in self.filters.values} - set(self.page.filters)
        return [FILTERS[name][0] for name in FILTERS if name in names]

    def options(self, name: str) -> list[Option]:
        """Returns the values of a filter; chosen ones also if the warehouse has no such value."""
        known = [option for option in self._options if option.filter == name]
        ids = {option.id for option in known}
        unknown = [
            Option(name, text, f"{text} (unknown)")
            for own, text in self.filters.values
            if own == name and text not in ids
        ]
        return known + unknown

    def chosen(self) -> list[Option]:
        """Returns the values that are chosen and that the page applies."""
        return [
            option
            for name in self.page.filters
            for option in self.options(name)
            if self.filters.has(name, option.id)
        ]

    def charts(self) -> list[Figure] | Problem:
        """Reads the charts."""
        parameters = self.filters.parameters(self.page.filters, self.freshness.day)
        try:
            rows = self._read.charts(self.page, parameters)
        except psycopg.Error as error:
            return Problem.of_warehouse(error)
        return [
            figure(
                self.page,
                chart,
                rows[chart.name],
                self.filters,
                self._read.as_text(self.page.query_of(chart), parameters),
            )
            for chart in self.page.charts
        ]


class Dashboard:
    """The pages on one warehouse.

    Args:
        connect: Opens a connection to the warehouse.
        name: What the warehouse is called on the pages.
        stack: The stack that fills the warehouse; None if it is not known.
    """

    def __init__(self, connect: Connect, name: str, stack: Stack | None = None) -> None:
        self._connect = connect
        self._stack = stack
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["warehouse"] = name
        self._templates.globals["life_address"] = address
        self._templates.filters |= {
            "ago": ago,
            "circumstances": circumstances,
            "heading": heading,
            "moment": moment,
            "number": number,
            "shown": shown,
            "summary": summary,
            "value": value,
            "versions": versions,
        }

    def application(self) -> Starlette:
        """Returns the application, which answers to names of this machine only."""
        return Starlette(
            routes=[
                Route("/", lambda _request: RedirectResponse(f"/{PAGES[0]}")),
                Mount("/static", StaticFiles(directory=_HERE / "static")),
                Route("/trace/{table}/{key:path}", self._life),
                Route("/{page}", self._page),
            ],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
            exception_handlers={HTTPException: self._refused, Exception: self._broken},
        )

    def _page(self, request: Request) -> Response:
        name = request.path_params["page"]
        if name not in PAGES:
            return self._failed(404, Problem("There is no such page", f"/{name}"))
        try:
            filters = Filters.read(request.query_params.multi_items())
        except FilterInvalid as error:
            return self._failed(400, Problem("This address is not valid", str(error)))
        stack = ExitStack()
        try:
            view = _View(page(name), filters, stack.enter_context(reading(self._connect)))
        except (psycopg.Error, PipelineError) as error:
            stack.close()
            return self._failed(503, Problem.of_warehouse(error))
        return self._streamed("page.html", view, stack)

    def _life(self, request: Request) -> Response:
        names = request.path_params
        try:
            life = life_of(names["table"], names["key"], self._stack)
        except InvalidInput as error:
            return self._failed(404, Problem("There is no such row", str(error)))
        return self._streamed("life.html", life, nullcontext())

    def _streamed(
        self, template: str, view: _View | Life, open_for: AbstractContextManager[Any]
    ) -> Response:
        """Sends the page's head before its charts, or the parts of the stack, are read.

        The status has been sent by then, so an error that nothing expects ends the page.
        """

        def parts() -> Iterator[str]:
            try:
                with open_for:
                    yield from self._templates.get_template(template).generate(view=view)
            except Exception as error:
                _LOGGER.exception("a page has failed")
                problem = Problem.unexpected(error)
                yield self._templates.get_template("broken.html").render(problem=problem)

        return StreamingResponse(parts(), media_type="text/html", headers=_HEADERS)

    def _refused(self, _request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for  # nosec B101
        return self._failed(error.status_code, Problem("There is no such page", error.detail))

    def _broken(self, _request: Request, error: Exception) -> Response:
        return self._failed(500, Problem.unexpected(error))

    def _failed(self, status: int, problem: Problem) -> Response:
        text = self._templates.get_template("problem.html").render(problem=problem)
        return HTMLResponse(text, status, _HEADERS)


def number(value: Any) -> str:
    """Returns a number with thousands separators and at least two decimal places of a fraction.

    No place is dropped. Other values are returned as text.
    """
    if isinstance(value, Decimal):
        whole, _, fraction = f"{value:,f}".partition(".")
        return f"{whole}.{fraction.rstrip('0'):0<2}"
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) else shown(str(value))


def shown(text: str) -> str:
    """Returns a text of the data with characters that would not be seen as escapes."""
    if not text.strip():
        return "(empty)"
    return "".join(
        one if one.isprintable() or category(one) == "Zs" else ascii(one)[1:-1] for one in text
    )


def moment(value: datetime.datetime | None) -> str:
    """Returns a time, in UTC."""
    return f"{value:%Y-%m-%d %H:%M} UTC" if value else "unknown"


def ago(value: datetime.datetime) -> str:
    """Returns how long ago a time was, in the largest unit."""
    seconds = int((datetime.datetime.now(datetime.UTC) - value).total_seconds())
    units = (("day", 86_400), ("hour", 3_600), ("minute", 60))
    name, size = next(((name, size) for name, size in units if seconds >= size), ("minute", 60))
    count = max(0, seconds // size)
    return f"{count} {name}{'' if count == 1 else 's'} ago"
