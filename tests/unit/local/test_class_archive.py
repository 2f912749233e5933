"""One job writes the archive of Spark's classes, and later ones use it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.cloud import class_archive
from local.cloud.class_archive import ClassArchive
from tests.fixtures.waiting import wait_until

WRITE = "-XX:ArchiveClassesAtExit="
USE = "-XX:SharedArchiveFile="
HOME = Path("spark home")


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    folder = tmp_path / "spark jars"
    folder.mkdir()
    return folder


def written_by(options: tuple[str, ...]) -> Path:
    assert options[0].startswith(WRITE)
    return Path(options[0].removeprefix(WRITE))


def ended_group() -> int:
    process = subprocess.Popen(["true"], start_new_session=True)
    process.wait()
    return process.pid


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(class_archive, "_POLL_SECONDS", 0.01)
    yield
    # The thread that ends a test's last job would have the next test wait for nothing.
    assert class_archive._one_writer.acquire(timeout=10)
    class_archive._one_writer.release()


def following(jars: Path) -> tuple[ClassArchive, tuple[str, ...]]:
    """Returns what a next JVM is given, once the writing of an archive has ended."""

    def ended() -> tuple[ClassArchive, tuple[str, ...]] | None:
        options = (archive := ClassArchive(jars, HOME)).options()
        return (archive, options) if options else None

    return wait_until(ended)


def test_the_archive_of_a_job_that_succeeded_is_used_by_the_next(jars: Path) -> None:
    archive = ClassArchive(jars, HOME)
    written_by(archive.options()).write_text("classes")

    archive.end(ended_group(), is_kept=True)

    option = following(jars)[1][0]
    assert Path(option.removeprefix(USE)).read_text() == "classes"
    assert ClassArchive(jars, HOME).shared[0] == option


def test_one_job_at_a_time_writes_the_archive(jars: Path) -> None:
    first = ClassArchive(jars, HOME)
    assert first.options()

    assert ClassArchive(jars, HOME).options() == ()

    first.end(ended_group(), is_kept=False)
    second, options = following(jars)
    written_by(options)
    second.end(ended_group(), is_kept=False)


@pytest.mark.parametrize("is_written", [True, False])
def test_nothing_is_left_of_a_job_that_failed_or_had_no_jvm(jars: Path, is_written: bool) -> None:
    archive = ClassArchive(jars, HOME)
    unfinished = written_by(archive.options())
    if is_written:
        unfinished.write_text("classes")

    archive.end(ended_group(), is_kept=not is_written)

    second, options = following(jars)
    written_by(options)
    assert not unfinished.exists()
    second.end(ended_group(), is_kept=False)


def test_what_a_killed_local_cloud_left_unfinished_is_removed(jars: Path) -> None:
    killed, other = (
        jars.with_name(f"spark-classes-0.{pid}") for pid in (ended_group(), os.getppid())
    )
    for unfinished in (killed, other):
        unfinished.write_text("a part")

    archive = ClassArchive(jars, HOME)
    archive.options()

    archive.end(ended_group(), is_kept=False)
    assert not killed.exists()
    assert other.exists()


def test_an_archive_is_kept_only_when_the_jvm_has_exited(jars: Path) -> None:
    archive = ClassArchive(jars, HOME)
    written_by(archive.options()).write_text("a part")
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as jvm:
        archive.end(jvm.pid, is_kept=True)

        assert ClassArchive(jars, HOME).options() == ()
        jvm.kill()
    assert following(jars)[1][0].startswith(USE)


def test_other_jars_have_another_archive(jars: Path, tmp_path: Path) -> None:
    archive = ClassArchive(jars, HOME)
    written_by(archive.options()).write_text("classes")
    archive.end(ended_group(), is_kept=True)
    following(jars)

    (jars / "iceberg.jar").touch()

    assert ClassArchive(jars, HOME).shared == ()
    assert ClassArchive(tmp_path / "others", HOME).shared == ()


def test_another_spark_has_another_archive(jars: Path) -> None:
    archive = ClassArchive(jars, HOME)
    written_by(archive.options()).write_text("classes")
    archive.end(ended_group(), is_kept=True)
    following(jars)

    assert ClassArchive(jars, Path("other home")).shared == ()
