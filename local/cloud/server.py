"""The local cloud: a background process that outlives the command that started it."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

REGION: Final = "eu-west-2"
_READY_SECONDS = 60.0
_POLL_SECONDS = 0.1


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
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",  # the emulator takes any  # nosec B105
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
        }

    def is_running(self) -> bool:
        """Returns whether it accepts requests."""
        if not self.port_file.exists():
            return False
        port = int(self.port_file.read_text())
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
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
            RuntimeError: It did not answer in time; the message names its log.
        """
        if self.is_running():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self.port_file.exists():
            self.port_file.write_text(str(_free_port()))
        # MiniStack does not remove its functions' folders: `stop` does.
        self._temporary.mkdir(exist_ok=True)
        environment = os.environ | self.environment() | {"TMPDIR": str(self._temporary)}
        del environment["AWS_ENDPOINT_URL"]
        log = self._folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603
                [
                    *(sys.executable, "-m", "local.cloud"),
                    *("--port", self.port_file.read_text()),
                    *("--state", str(self._folder)),
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
        deadline = time.monotonic() + _READY_SECONDS
        while not self.is_running():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the local cloud did not start: see {log}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Stops the process that `start` started, and waits for its end."""
        pid_file = self._folder / "pid"
        if pid_file.exists():
            if self.is_running():
                os.kill(int(pid_file.read_text()), signal.SIGTERM)
                deadline = time.monotonic() + _READY_SECONDS
                while self.is_running() and time.monotonic() < deadline:
                    time.sleep(_POLL_SECONDS)
            pid_file.unlink()
        if self._process is not None:
            self._process.wait(_READY_SECONDS)
            self._process = None
        shutil.rmtree(self._temporary, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
