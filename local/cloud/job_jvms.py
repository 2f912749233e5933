"""The JVMs of Glue jobs: a job that ended leaves its JVM to the next one.

A small job spends most of its CPU time on loading and compiling classes, which a waiting JVM has.
It has nothing else of the job before: Spark's context is stopped, and the settings, credentials and
file systems are removed. The JVM of a job that was stopped, ran out of time or left Spark's context
ends with the job, and one that waited for long ends too. AWS Glue starts a JVM for each run.

PySpark connects to a running JVM by PYSPARK_GATEWAY_PORT and PYSPARK_GATEWAY_SECRET, and Spark's
own gateway writes both to the file that _PYSPARK_DRIVER_CONN_INFO_PATH names (pyspark 4.1,
java_gateway.py).
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from py4j.clientserver import ClientServer, JavaParameters, PythonParameters
from py4j.java_gateway import JavaObject
from py4j.protocol import Py4JError

from local.cloud.class_archive import ClassArchive
from local.cloud.spark_home import spark_home
from local.cloud.spark_settings import JAVA_OPTIONS, spark_settings, with_java_options

_OF_THE_JVM: Final = ("spark.driver.memory", JAVA_OPTIONS, "spark.driver.extraClassPath")
"""Settings that a JVM has from its start on."""
# Of the JVM that composes the command of the job's JVM.
_LAUNCHER_OPTIONS: Final = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto"
_CREDENTIALS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_OF_PY4J: Final = ("GATEWAY_SERVER", "j", "t")
"""Names of objects that py4j has from its start on: the server, the view of the JVM, the entry."""
_START_SECONDS: Final = 60.0
_IDLE_SECONDS: Final = 300.0
_JOBS_AT_MOST: Final = 50
"""How many jobs a JVM runs: what each leaves in it adds up."""
_POLL_SECONDS: Final = 0.02


class JvmFailed(Exception):
    """A job's JVM does not start, or has ended."""


class JobJvm:
    """A JVM that runs one job after another.

    Args:
        home: The Spark home.
        settings: Its settings of `_OF_THE_JVM`.
        archive: The archive of its classes.

    Raises:
        JvmFailed: It ended, or took too long to start.
    """

    def __init__(self, home: Path, settings: Mapping[str, str], archive: ClassArchive) -> None:
        self.settings = settings
        self._jobs = 0
        self._begun = 0
        self._archive = archive
        self._names: set[str] = set()
        self._folder = Path(tempfile.mkdtemp(prefix="jvm-"))
        self._log = self._folder / "log"
        own = with_java_options(settings, archive.options())
        defaults = self._folder / "spark-defaults.conf"
        defaults.write_text(
            "".join(f"{name} {value}\n" for name, value in own.items()), encoding="utf-8"
        )
        place = self._folder / "gateway"
        environment = {k: v for k, v in os.environ.items() if k not in _CREDENTIALS} | {
            "SPARK_HOME": str(home),
            "SPARK_LAUNCHER_OPTS": _LAUNCHER_OPTIONS,
            "_PYSPARK_DRIVER_CONN_INFO_PATH": str(place),
        }
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603
                # Not by SPARK_CONF_DIR, which would be on the class path: an archive is for one
                # class path.
                [home / "bin/spark-submit", "--properties-file", defaults, "pyspark-shell"],
                env=environment,
                cwd=self._folder,
                stdin=subprocess.PIPE,  # Spark's gateway ends when it is closed
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._port, self._secret = self._gateway(place)

    def _gateway(self, place: Path) -> tuple[int, str]:
        """Waits for the gateway, and returns its port and its secret."""
        deadline = time.monotonic() + _START_SECONDS
        while not place.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = self._log.read_text(errors="replace")
                self.kill()
                raise JvmFailed(f"the job's JVM did not start: {log}")
            time.sleep(_POLL_SECONDS)
        held = place.read_bytes()  # a port and a length of four bytes each, and the secret
        return int.from_bytes(held[:4]), held[8:].decode()

    def environment(self) -> dict[str, str]:
        """Returns the variables that direct PySpark to this JVM."""
        return {
            "PYSPARK_GATEWAY_PORT": str(self._port),
            "PYSPARK_GATEWAY_SECRET": self._secret,
        }

    def prepare(self, settings: Mapping[str, str], credentials: Mapping[str, str]) -> None:
        """Gives it the next job's settings and credentials, in place of the last job's.

        Args:
            settings: Spark's settings.
            credentials: The role's environment variables.
        """
        key, secret = (credentials[name] for name in _CREDENTIALS[:2])
        properties = {
            **settings,
            "spark.hadoop.fs.s3a.access.key": key,
            "spark.hadoop.fs.s3a.secret.key": secret,
            "aws.accessKeyId": key,
            "aws.secretAccessKey": secret,
        }
        with self._connected() as jvm:
            system = jvm.java.lang.System  # py4j asks Java for each part of the name, each time
            for name in self._names - properties.keys():
                system.clearProperty(name)
            for name, value in properties.items():
                system.setProperty(name, value)
        self._names = {*properties}
        self._jobs += 1
        self._begun = self._log.stat().st_size

    def output(self) -> bytes:
        """Returns what it has written since the last job began."""
        with self._log.open("rb") as log:
            log.seek(self._begun)
            return log.read()

    def clean(self) -> bool:
        """Removes what the last job has left, and returns whether another job may follow."""
        if self._archive.is_writer or self._jobs >= _JOBS_AT_MOST:
            return False
        try:
            with self._connected() as jvm:
                if jvm.org.apache.spark.SparkEnv.get() is not None:
                    return False
                # They are kept by place, whatever the credentials.
                jvm.org.apache.hadoop.fs.FileSystem.closeAll()
                # What the job's Python held of them, and has not let go.
                objects = JavaObject("GATEWAY_SERVER", jvm._gateway_client).getGateway()
                objects.getBindings().keySet().retainAll(jvm.java.util.Set.of(*_OF_PY4J))
        except JvmFailed:
            return False
        return True

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        """Gives the packages of the JVM."""
        gateway = ClientServer(
            JavaParameters(port=self._port, auth_token=self._secret),
            PythonParameters(port=0, eager_load=False),
        )
        try:
            yield gateway.jvm
        except (Py4JError, OSError) as error:
            raise JvmFailed(f"the job's JVM does not answer: {error}") from error
        finally:
            gateway.close()

    def end(self, *, is_kept: bool = False) -> None:
        """Lets it exit by itself, which writes the archive of classes that it was started to write.

        Args:
            is_kept: Whether that archive is kept.
        """
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe  # nosec B101
        self._process.stdin.close()
        self._archive.end(self._process.pid, is_kept=is_kept)
        threading.Thread(target=self._remove, daemon=True).start()

    def kill(self) -> None:
        """Ends it at once."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self.end()

    def _remove(self) -> None:
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


class JobJvms:
    """The JVMs of a local cloud.

    Args:
        endpoint: Its URL.
        jars: The folder of the jars that AWS Glue adds.
    """

    def __init__(self, endpoint: str, jars: Path) -> None:
        self._endpoint = endpoint
        self._jars = jars
        self._lock = threading.Lock()
        self._waiting: dict[JobJvm, threading.Timer] = {}

    def take(self, conf: Mapping[str, str], credentials: Mapping[str, str]) -> JobJvm:
        """Returns a JVM that is prepared for a job: one that waits, or a new one.

        Args:
            conf: The job's settings of Spark, beside what AWS Glue has built in.
            credentials: The environment variables of the job's role.

        Raises:
            JvmFailed: It ended, or took too long to start.
        """
        settings = {**spark_settings(self._endpoint, self._jars), **conf}
        own = {name: settings[name] for name in _OF_THE_JVM}
        waiting = self._waiting_with(own)
        if waiting:
            try:
                waiting.prepare(settings, credentials)
            except JvmFailed:  # it ended while it waited
                waiting.kill()
            else:
                return waiting
        home = spark_home(self._jars)
        jvm = JobJvm(home, own, ClassArchive(self._jars, home))
        jvm.prepare(settings, credentials)
        return jvm

    def give_back(self, jvm: JobJvm, code: int | None) -> None:
        """Keeps the JVM for the next job, or ends it.

        Args:
            jvm: The JVM of a job that has ended.
            code: The job's exit code, or None if it was stopped.
        """
        if code is None:
            jvm.kill()
        elif not jvm.clean():
            jvm.end(is_kept=code == 0)
        else:
            timer = threading.Timer(_IDLE_SECONDS, self._end_idle, (jvm,))
            timer.daemon = True
            with self._lock:
                self._waiting[jvm] = timer
            timer.start()

    def _waiting_with(self, settings: Mapping[str, str]) -> JobJvm | None:
        """Takes a JVM with these settings from those that wait."""
        with self._lock:
            found = next((jvm for jvm in self._waiting if jvm.settings == settings), None)
            if found:
                self._waiting.pop(found).cancel()
            return found

    def _end_idle(self, jvm: JobJvm) -> None:
        with self._lock:
            is_waiting = self._waiting.pop(jvm, None)
        if is_waiting:
            jvm.end()
