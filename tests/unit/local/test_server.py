"""The local cloud is told from other programs, and from the clouds that a shell is set to."""

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local.cloud.server import CloudMoved, CloudNotStarted, LocalCloud, leave_other_places


@pytest.fixture
def cloud(tmp_path: Path) -> LocalCloud:
    """A cloud that has a port and is not running."""
    (tmp_path / "port").write_text("8080")
    return LocalCloud(tmp_path, tmp_path)


@pytest.fixture
def other_program(cloud: LocalCloud, tmp_path: Path) -> Iterator[None]:
    """Another program has the port of a cloud that was killed, and this process has its id."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        (tmp_path / "port").write_text(str(server.server_port))
        (tmp_path / "pid").write_text(str(os.getpid()))
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("other_program")
def test_another_program_on_its_port_is_not_taken_for_the_cloud(cloud, tmp_path):
    assert not cloud.is_running()
    with pytest.raises(CloudNotStarted, match=f"another program .* remove {tmp_path / 'port'}"):
        cloud.start()


@pytest.mark.usefixtures("other_program")
def test_another_process_with_a_dead_cloud_s_number_is_not_stopped(cloud, tmp_path):
    cloud.stop()
    assert not (tmp_path / "pid").exists()


def test_a_cloud_that_runs_where_its_folder_was_before_is_told_of(cloud, tmp_path, monkeypatch):
    (tmp_path / "pid").write_text(str(os.getpid()))
    words = ["python", "-m", "local.cloud", "--port", "8080", "--state", "before"]
    monkeypatch.setattr("psutil.Process.cmdline", lambda _self: words)
    for command in (cloud.is_running, cloud.start, cloud.stop):
        with pytest.raises(CloudMoved, match=r"before was moved to .*, run `make down`"):
            command()

    (tmp_path / "link").symlink_to(tmp_path)
    words[-1] = str(tmp_path / "link")
    cloud.is_running()


def test_a_cloud_whose_command_line_is_not_known_yet_is_taken_for_running(
    cloud, tmp_path, monkeypatch
):
    (tmp_path / "pid").write_text(str(os.getpid()))
    lines = iter(
        [[], [], ["python", "-m", "local.cloud", "--port", "8080", "--state", str(tmp_path)]]
    )
    monkeypatch.setattr("psutil.Process.cmdline", lambda _self: next(lines))
    monkeypatch.setattr(LocalCloud, "_answers", lambda _self: True)

    assert cloud.is_running()


def test_a_process_of_the_kernel_is_no_cloud(cloud, tmp_path, monkeypatch):
    (tmp_path / "pid").write_text(str(os.getpid()))
    monkeypatch.setattr("psutil.Process.cmdline", lambda _self: [])
    monkeypatch.setattr("local.cloud.server._NAMED_SECONDS", 0.01)

    assert not cloud.is_running()


def test_nothing_is_left_of_a_cloud_that_does_not_start(cloud, tmp_path, monkeypatch):
    monkeypatch.setattr(LocalCloud, "_answers", lambda _self: False)
    monkeypatch.setattr("local.cloud.server._READY_SECONDS", 0.01)

    with pytest.raises(CloudNotStarted, match=f"see {tmp_path / 'log'}"):
        cloud.start()

    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(
    "name",
    [
        *("AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"),
        *("AWS_SESSION_TOKEN", "AWS_RETRY_MODE", "AWS_CA_BUNDLE", "SAM_USE_CONTAINER"),
        *("PGHOSTADDR", "PGSERVICE", "PGSSLMODE", "PGOPTIONS", "PGCLIENTENCODING"),
    ],
)
def test_a_variable_for_other_clouds_and_databases_is_left(name):
    environment = {name: "x", "PATH": "/bin"}
    leave_other_places(environment)
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize("name", ["PGPASSFILE", "PGSERVICEFILE"])
def test_a_file_of_libpq_stays_for_a_source_that_names_its_entries(name):
    environment = {name: "x"}
    leave_other_places(environment)
    assert environment == {name: "x"}


@pytest.mark.parametrize(
    ("name", "given", "passed"),
    [
        ("NO_PROXY", "", "127.0.0.1"),
        ("NO_PROXY", "example.com", "example.com,127.0.0.1"),
        ("no_proxy", "a,b,127.0.0.1", "a,b,127.0.0.1"),
    ],
)
def test_no_proxy_is_asked_for_the_cloud(cloud, monkeypatch, name, given, passed):
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, given)
    environment = cloud.environment()
    assert (environment["NO_PROXY"], environment["no_proxy"]) == (passed, passed)
