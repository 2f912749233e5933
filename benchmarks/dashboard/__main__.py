"""Measures the pages of the dashboard in a browser: the first paint, and each kind of filter."""

import argparse
import socket
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
import uvicorn
from playwright.sync_api import Browser
from psycopg.conninfo import conninfo_to_dict

from benchmarks.workshop import workshop
from dashboard.app import HOST, Dashboard
from dashboard.charts import warm_up
from dashboard.warehouse import connecting
from lambdas.load.migrations import migrate, migrations
from local.arguments import whole_number
from local.browser import launched
from local.postgres import PostgresServer
from pipeline.secret import Login

_ROUNDS: Final = 5
_LONGEST_PAINT_MS: Final = 1000
_LONGEST_FILTER_MS: Final = 500
_FILTERS: Final = {
    "none": "",
    "currency": "currency=1",
    "country": "country=Poland",
    "counterparty": "counterparty=3",
    "two currencies and a country": "currency=1&currency=2&country=Japan",
    "a quarter": "start=2024-01-01&end=2024-03-31",
    "an earlier day": "as_of=2026-11-20",
}
_OWN: Final = {
    "sales": {"staff": "staff=4", "design": "design=17"},
    "purchases": {"staff": "staff=4"},
    "payments": {"type": "type=1", "unpaid": "paid=false"},
}
# A page may be loaded before it is painted.
_PAINT: Final = """new Promise(done => new PerformanceObserver(list =>
    list.getEntriesByName("first-contentful-paint").forEach(one => done(one.startTime))
).observe({type: "paint", buffered: true}))"""
_LOADED: Final = "performance.getEntriesByType('navigation')[0].loadEventEnd"


def main() -> None:
    """Measures, prints, and removes everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboard")
    number = whole_number(1)
    parser.add_argument(
        "--rows", type=number, default=1_000_000, help="how many payments there are"
    )
    rows: int = parser.parse_args().rows
    with workshop("dashboard") as folder:
        server = PostgresServer(folder / "postgres", {"fsync": "off"})
        server.start()
        try:
            url = server.create_database("warehouse")
            _fill(url, rows)
            with _served(url) as address, launched() as browser:
                _measure(browser, address, rows)
        finally:
            server.stop()


def _fill(url: str, payments: int) -> None:
    statements = Path(__file__).with_name("facts.sql").read_text()
    with psycopg.connect(url, autocommit=True) as connection:
        migrate(connection, migrations())
        connection.execute(statements.replace("{payments}", str(payments)).encode())
        connection.execute("vacuum (analyze)")


@contextmanager
def _served(url: str) -> Iterator[str]:
    keywords: dict[str, Any] = conninfo_to_dict(url)
    login = Login(
        {name: str(keywords[name]) for name in ("host", "port", "user", "dbname")},
        keywords["password"],
    )
    warm_up()
    application = Dashboard(connecting(login), "benchmark").application()
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://{HOST}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _measure(browser: Browser, address: str, rows: int) -> None:
    """Prints the medians, and how many are within their limits."""
    print(f"{rows:,} payments, medians of {_ROUNDS}, milliseconds\n")
    print("| page | filter | first paint | all figures |\n|---|---|---|---|")
    within = []
    for name, own in _OWN.items():
        for label, query in {**_FILTERS, **own}.items():
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            laps = []
            for _ in range(_ROUNDS + 1):
                page.goto(f"{address}/{name}?{query}")
                laps.append((page.evaluate(_PAINT), page.evaluate(_LOADED)))
            page.close()
            # The first lap fills the caches of the server and of PostgreSQL.
            paint, loaded = (statistics.median(column) for column in zip(*laps[1:], strict=True))
            within.append(paint <= _LONGEST_PAINT_MS and loaded <= _LONGEST_FILTER_MS)
            print(f"| {name} | {label} | {paint:.0f} | {loaded:.0f} |", flush=True)
    print(
        f"\n{sum(within)} of {len(within)} within {_LONGEST_PAINT_MS} and {_LONGEST_FILTER_MS} ms"
    )


if __name__ == "__main__":
    main()
