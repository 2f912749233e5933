"""The local cloud's PostgreSQL servers."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from local.postgres import PostgresError, PostgresServer


@pytest.fixture(params=["short", "an o'dd name", "deep/" * 40])
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with tempfile.TemporaryDirectory() as folder:
        server = PostgresServer(Path(folder) / request.param)
        yield server
        server.stop()


def test_serves_over_tcp_and_over_a_unix_socket_whatever_its_folder_is_called(
    server: PostgresServer,
) -> None:
    server.start()
    server.create_database("totesys")

    for dsn in (server.dsn("totesys"), server.socket_dsn("totesys")):
        with psycopg.connect(dsn) as connection:
            assert connection.info.dbname == "totesys"


def test_leaves_no_folder_of_its_socket_behind() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = PostgresServer(Path(folder) / ("deep/" * 40))
        server.start()
        assert server.socket_folder.exists()

        server.stop()

        assert not server.socket_folder.exists()


@pytest.mark.parametrize("name", ["short", "deep/" * 40])
def test_a_folder_that_another_user_made_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = PostgresServer(tmp_path / name)
    (tmp_path / name / "data").mkdir(parents=True)
    (tmp_path / name / "data" / "PG_VERSION").touch()
    server.socket_folder.mkdir(exist_ok=True)
    of_this_user = os.geteuid()
    monkeypatch.setattr("os.geteuid", lambda: of_this_user + 1)

    with pytest.raises(PostgresError, match=f"{server.socket_folder} belongs to another user"):
        server.start()


def test_keeps_its_address_and_its_databases_over_a_restart_and_is_stopped_after_a_move(
    postgres_folder: Path,
) -> None:
    server = PostgresServer(postgres_folder)
    server.start()
    dsn = server.create_database("totesys")
    with psycopg.connect(dsn) as connection:
        connection.execute("create table kept ()")
    server.stop()
    assert not server.running

    again = PostgresServer(postgres_folder)
    again.start()
    try:
        assert again.create_database("totesys") == dsn
        with psycopg.connect(dsn) as connection:
            connection.execute("select from kept")
    finally:
        moved = PostgresServer(postgres_folder.rename(postgres_folder.with_name("moved")))
        assert moved.running
        moved.stop()
        assert not again.running


def test_another_password_is_refused(source_dsn: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(source_dsn, password="guessed")


def test_a_process_that_took_a_dead_servers_number_is_not_taken_for_it(
    postgres_folder: Path,
) -> None:
    server = PostgresServer(postgres_folder)
    (postgres_folder / "data").mkdir(parents=True)
    (postgres_folder / "data" / "postmaster.pid").write_text("1\n")

    assert not server.running


@pytest.fixture
def postgres_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "postgres"
