"""A class-data archive of Spark's JVMs: classes that are parsed and verified once.

A job of the local cloud spends most of its CPU time on loading classes. The first job that
succeeds writes the classes that it loaded to an archive, when its JVM exits. Later jobs map the
archive. A JVM that cannot use an archive ignores it.

Source: Java Virtual Machine Guide, "Class Data Sharing", "Dynamic archive".
"""

import contextlib
import hashlib
import os
import shutil
import threading
import time
from pathlib import Path

import psutil

_QUIET = ("-Xlog:cds=off", "-Xlog:cds+dynamic=off", "-Xlog:class+path=off")
_POLL_SECONDS = 0.5
_one_writer = threading.Lock()


class ClassArchive:
    """The archive for one class path, as one JVM uses it.

    Args:
        jars: The folder of the jars that AWS Glue adds. The archive is beside it.
        home: The Spark home, whose name tells its jars.
    """

    def __init__(self, jars: Path, home: Path) -> None:
        self._path = jars.with_name(f"spark-classes-{_digest(jars, home)}.jsa")
        self._unfinished: Path | None = None

    @property
    def shared(self) -> tuple[str, ...]:
        """The Java options that use the archive; none if it does not exist."""
        return (f"-XX:SharedArchiveFile={self._path}", *_QUIET) if self._path.exists() else ()

    @property
    def is_writer(self) -> bool:
        """Whether the JVM writes the archive at its exit."""
        return self._unfinished is not None

    def options(self) -> tuple[str, ...]:
        """Returns the Java options that use the archive, or that write it."""
        self._remove_left()
        if not self.shared and _one_writer.acquire(blocking=False):
            self._unfinished = self._path.with_suffix(f".{os.getpid()}")
            return (f"-XX:ArchiveClassesAtExit={self._unfinished}", *_QUIET)
        return self.shared

    def end(self, group: int, *, is_kept: bool) -> None:
        """Keeps what the JVM writes at its exit, or removes it.

        Args:
            group: The process group of the JVM, which may still be exiting.
            is_kept: Whether the JVM's job succeeded.
        """
        if self.is_writer:
            threading.Thread(target=self._end, args=(group, is_kept), daemon=True).start()

    def _remove_left(self) -> None:
        """Removes archives that local clouds which were killed left unfinished."""
        for left in self._path.parent.glob("spark-classes-*.*"):
            writer = left.suffix[1:]
            if writer.isdecimal() and not psutil.pid_exists(int(writer)):
                left.unlink(missing_ok=True)

    def _end(self, group: int, is_kept: bool) -> None:
        try:
            while _has_members(group):
                time.sleep(_POLL_SECONDS)
            assert self._unfinished is not None  # noqa: S101 - `end` has checked it  # nosec B101
            with contextlib.suppress(FileNotFoundError):  # a job without Spark writes none
                if is_kept:
                    self._unfinished.replace(self._path)
                self._unfinished.unlink()
        finally:
            _one_writer.release()


def _digest(jars: Path, home: Path) -> str:
    """Returns a digest of what an archive depends on: the JVM and the jars on its class path."""
    java_home = os.environ.get("JAVA_HOME")
    java = Path(java_home, "bin", "java") if java_home else Path(shutil.which("java") or "java")
    parts = [jars, java.resolve()]
    seen = [(str(part), part.stat().st_mtime_ns if part.exists() else 0) for part in parts]
    return hashlib.sha256(repr((seen, str(home))).encode()).hexdigest()[:12]


def _has_members(group: int) -> bool:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
