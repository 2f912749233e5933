"""The local cloud: a background process that outlives the command that started it."""

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final

import psutil

from local.cloud.calls import RECORDED_CALLS
from local.private import private_folder

REGION: Final = "eu-west-2"
_HOST: Final = "127.0.0.1"
_OF_OTHER_PLACES: Final = ("AWS_", "PG", "SAM_")
_FILES_OF_LIBPQ: Final = ("PGPASSFILE", "PGSERVICEFILE", "PGSYSCONFDIR")
_OF_THE_MACHINE: Final = (
    *("HOME", "JAVA_HOME", "LANG", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "TZ", "USER"),
    *("SSL_CERT_DIR", "SSL_CERT_FILE", *_FILES_OF_LIBPQ, RECORDED_CALLS),
)
_KINDS_OF_THE_MACHINE: Final = ("COVERAGE_", "KRB5", "LC_")
_STATE_OPTION: Final = "--state"
_READY_SECONDS = 60.0
_POLL_SECONDS = 0.1
_NAMED_SECONDS = 1.0
"""How long a process may have no command line; a process of the kernel never has one."""


class CloudNotStarted(Exception):
    """The local cloud does not start."""


class CloudMoved(CloudNotStarted):
    """The local cloud runs, and keeps its state where its folder was before."""


def leave_other_places(environment: MutableMapping[str, str]) -> None:
    """Removes variables that direct clients to other clouds and databases.

    A profile, an endpoint or a setting of libpq or AWS SAM that a shell has for its own purposes
    takes precedence over what a client is told otherwise. libpq's files say nothing by themselves.
    """
    for name in [name for name in environment if name.startswith(_OF_OTHER_PLACES)]:
        if name not in _FILES_OF_LIBPQ:
            del environment[name]


def of_the_machine(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that say where programs and files of this machine are.

    Others may mean something else to the local cloud (MiniStack reads SERVICES, AUTH, LOG_LEVEL and
    a hundred more), to its functions and to its jobs. On AWS these have nothing of a shell.
    """
    return {
        name: value
        for name, value in environment.items()
        if name in _OF_THE_MACHINE or name.startswith(_KINDS_OF_THE_MACHINE)
    }


class LocalCloud:
    """One local cloud, with its state in a folder.

    Args:
        folder: Its state, its log, its process id and its port.
        jars: Spark's jars.
    """

    def __init__(self, folder: Path, jars: Path) -> None:
        self._folder = folder
        self._jars = jars
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _temporary(self) -> Path:
        return self._folder / "tmp"

    @property
    def port_file(self) -> Path:
        """The file that keeps the port from its first start on."""
        return self._folder / "port"

    @property
    def endpoint_url(self) -> str:
        """The address of every service."""
        return f"http://127.0.0.1:{self.port_file.read_text()}"

    def environment(self) -> dict[str, str]:
        """Returns the environment variables that direct the AWS SDKs to this cloud."""
        direct = [os.environ.get("no_proxy") or os.environ.get("NO_PROXY", ""), _HOST]
        without_proxy = ",".join(dict.fromkeys(",".join(filter(None, direct)).split(",")))
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",  # the emulator takes any  # nosec B105
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            # A person's profiles have regions, endpoints and credentials of other clouds.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": without_proxy,
            "no_proxy": without_proxy,
        }

    def enter(self) -> None:
        """Directs the AWS SDKs and libpq in this process to this cloud and its databases."""
        leave_other_places(os.environ)
        os.environ.update(self.environment())

    def is_running(self) -> bool:
        """Returns whether it accepts requests.

        Raises:
            CloudMoved: Its folder was moved while it was running.
        """
        return self._running() is not None and self._answers()

    def _running(self) -> psutil.Process | None:
        """Returns its process, or None if it is not running."""
        try:
            process = psutil.Process(int((self._folder / "pid").read_text()))
            words = _command_of(process)
            # After a crash the id may belong to another process.
            if not {"local.cloud", self.port_file.read_text()} <= {*words}:
                return None
        except (FileNotFoundError, ValueError, psutil.Error):
            return None
        state = Path(words[words.index(_STATE_OPTION) + 1])
        if not (state.exists() and state.samefile(self._folder)):
            raise CloudMoved(
                f"{state} was moved to {self._folder} while the local cloud was running: move the "
                "folder back, run `make down`, and move it then"
            )
        return process

    def _answers(self) -> bool:
        port = int(self.port_file.read_text())
        connection = http.client.HTTPConnection(_HOST, port, timeout=5)
        try:
            connection.request("GET", "/_ministack/health")
            connection.getresponse()
        except (OSError, http.client.HTTPException):
            return False
        else:
            return True
        finally:
            connection.close()

    def start(self) -> None:
        """Starts it unless it is running, and waits until it accepts requests.

        Raises:
            CloudNotStarted: Its port is taken, or it did not answer in time.
        """
        if self._running() is None:
            self._launch()
        deadline = time.monotonic() + _READY_SECONDS
        while not self._answers():
            if self._running() is None or time.monotonic() > deadline:
                if self._process is not None:
                    self._process.kill()
                    self._process.wait()
                raise CloudNotStarted(f"the local cloud did not start: see {self._log}")
            time.sleep(_POLL_SECONDS)

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _launch(self) -> None:
        private_folder(self._folder)
        if not self.port_file.exists():
            self.port_file.write_text(str(_free_port()))
        if self._answers():
            raise CloudNotStarted(
                f"another program has the local cloud's port: remove {self.port_file}, "
                "and it takes another one"
            )
        # MiniStack does not remove its functions' folders: `stop` does.
        self._temporary.mkdir(exist_ok=True)
        environment = of_the_machine(os.environ) | self.environment()
        environment["TMPDIR"] = str(self._temporary)
        del environment["AWS_ENDPOINT_URL"]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603
                [
                    *(sys.executable, "-m", "local.cloud"),
                    *("--port", self.port_file.read_text()),
                    *(_STATE_OPTION, str(self._folder)),
                    *("--jars", str(self._jars)),
                ],
                env=environment,
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        (self._folder / "pid").write_text(str(self._process.pid))

    def stop(self) -> None:
        """Stops the process that `start` started, and waits for its end."""
        process = self._running()
        if process is not None:
            process.terminate()
            try:
                process.wait(_READY_SECONDS)
            except psutil.TimeoutExpired:
                process.kill()
        (self._folder / "pid").unlink(missing_ok=True)
        if self._process is not None:
            self._process.wait(_READY_SECONDS)
            self._process = None
        shutil.rmtree(self._temporary, ignore_errors=True)


def _command_of(process: psutil.Process) -> list[str]:
    """Returns the command line of a process, which the kernel knows an instant after its start."""
    deadline = time.monotonic() + _NAMED_SECONDS
    words: list[str] = process.cmdline()
    while not words and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS / 10)
        words = process.cmdline()
    return words


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
