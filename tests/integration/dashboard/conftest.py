"""One warehouse and one server of the dashboard, for all tests of the folder."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import uvicorn
from playwright.sync_api import Browser, Page

from dashboard.app import HOST, Dashboard
from dashboard.life import Stack
from dashboard.warehouse import Connect, connecting
from lambdas.load.migrations import migrate, migrations
from local.postgres import PostgresServer
from pipeline.secret import Login
from tests.fixtures.postgres import running_server
from tests.integration.dashboard.world import fill, follow

_REFUSED = "the server responded with a status of 400 (Bad Request)"
"""What the browser says of an address that is not valid."""
READER = "reader"
PASSWORD = "of the reader"


@pytest.fixture(scope="package")
def server() -> Iterator[PostgresServer]:
    """A server of its own: the tests of the reporting role drop and create it on theirs."""
    with running_server("dashboard", {"fsync": "off"}) as server:
        yield server


@pytest.fixture(scope="package")
def warehouse_url(server: PostgresServer) -> str:
    """A warehouse with the facts, and a user who may report only."""
    url = server.create_database("warehouse")
    with psycopg.connect(url, autocommit=True) as connection:
        migrate(connection, migrations())
        with connection.transaction():
            fill(connection)
        connection.execute(
            f"create role {READER} login password '{PASSWORD}' in role totesys_reporting"
        )
    return url


@pytest.fixture(scope="package")
def connect(warehouse_url: str, server: PostgresServer) -> Connect:
    """Opens connections as the user who may report only."""
    return connecting(login(server, "warehouse"))


def login(server: PostgresServer, database: str) -> Login:
    """Returns how the reader connects to a database of the server."""
    parts = psycopg.conninfo.conninfo_to_dict(server.dsn(database))
    keywords = {"host": HOST, "port": str(parts["port"]), "dbname": database, "user": READER}
    return Login(keywords, PASSWORD)


@contextmanager
def served(connect: Connect) -> Iterator[str]:
    """Serves the dashboard on a free port, and gives its address."""
    application = Dashboard(connect, "warehouse", Stack(follow)).application()
    running = uvicorn.Server(uvicorn.Config(application, log_level="warning", ws="none"))
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen()
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://{HOST}:{listening.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join(timeout=20)


@pytest.fixture(scope="package")
def address(connect: Connect) -> Iterator[str]:
    """The address of the dashboard."""
    with served(connect) as url:
        yield url


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Opens pages of the dashboard. A request to anybody else, or a dialog, fails the test."""
    opened: list[Page] = []
    strangers: list[str] = []

    def note(url: str) -> None:
        if not url.startswith((address, "data:")):
            strangers.append(url)

    def note_message(text: str) -> None:
        if not text.endswith(_REFUSED):
            strangers.append(text)

    def open_page(path: str, **options: Any) -> Page:
        page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
        page.on("request", lambda request: note(request.url))
        page.on("dialog", lambda dialog: strangers.append(dialog.message))
        page.on("console", lambda message: note_message(message.text))
        opened.append(page)
        page.goto(address + path)
        return page

    yield open_page
    for page in opened:
        page.close()
    assert strangers == []
