"""The source's server is restarted, crashes, or is replaced: nothing is lost without a word."""

import dataclasses
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

from lambdas.ingest import change_capture
from lambdas.ingest.ingest import IngestResult
from local.postgres import PostgresServer
from pipeline.manifest import Capture, Epoch, Manifest, key_of
from tests.fixtures.postgres import running_server
from tests.integration.ingest.ingestion import Ingestion, captures

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SECONDS_TO_STOP = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that may be stopped and started."""
    with running_server("restarted", {"fsync": "off"}) as started:
        yield started


@pytest.fixture
def orders(
    raw_bucket: str, s3: "S3Client", server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ingestion]:
    """Three orders in a table that counts as large, which a first run has taken."""
    monkeypatch.setattr(change_capture, "LARGE_TABLE_BYTES", 0)
    source = Ingestion(server.create_database("shop"), raw_bucket, s3)
    source.execute(
        "create table orders (order_id integer primary key)",
        "insert into orders values (1), (2), (3)",
        "select pg_stat_force_next_flush()",
    )
    source.run()
    yield source
    server.start()
    server.drop_database("shop")


def stop_at_once(server: PostgresServer) -> None:
    """Does what `pg_ctl stop -m immediate` does, or a power cut."""
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGQUIT)
    psutil.Process(pid).wait(_SECONDS_TO_STOP)


def crash(server: PostgresServer) -> None:
    stop_at_once(server)
    server.start()


def restart(server: PostgresServer) -> None:
    server.stop()
    server.start()


def kill_a_session(server: PostgresServer) -> None:
    """Kills a backend: the server discards its statistics, and its main process stays."""
    with psycopg.connect(server.dsn("shop")) as victim:
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            victim.execute("select 1")
    wait_until_up(server)


def wait_until_up(server: PostgresServer) -> None:
    for _ in range(1000):
        try:
            psycopg.connect(server.dsn("shop"), connect_timeout=10).close()
        except psycopg.OperationalError:
            continue
        return
    raise AssertionError("the server does not come back")


def rewind_counters(ingestion: Ingestion) -> None:
    """Stores the last run as if the server had counted more by then."""
    change_last_run(
        ingestion,
        lambda run: dataclasses.replace(
            run,
            tables={
                name: dataclasses.replace(
                    table,
                    statistics=dataclasses.replace(
                        table.statistics, deleted=table.statistics.deleted + 1
                    ),
                )
                for name, table in run.tables.items()
            },
        ),
    )


def change_last_run(ingestion: Ingestion, change: Callable[[Manifest], Manifest]) -> None:
    run = change(ingestion.manifest())
    ingestion.client.put_object(
        Bucket=ingestion.bucket, Key=key_of(run.sequence), Body=run.to_json().encode()
    )


@pytest.mark.parametrize("disturb", [crash, kill_a_session])
def test_rows_deleted_before_the_counters_are_lost_are_missed_by_no_run(
    orders: Ingestion, server: PostgresServer, disturb: Callable[[PostgresServer], None]
) -> None:
    orders.execute("delete from orders where order_id = 2")
    disturb(server)
    orders = dataclasses.replace(orders, dsn=server.dsn("shop"))

    result = orders.run(reread_limit_bytes=0)

    assert captures(result) == {"orders": (Capture.WHOLE, 2)}
    assert not orders.run().committed


def test_a_clean_restart_takes_a_small_source_whole_once(
    orders: Ingestion, server: PostgresServer
) -> None:
    restart(server)
    orders = dataclasses.replace(orders, dsn=server.dsn("shop"))

    assert captures(orders.run()) == {"orders": (Capture.WHOLE, 3)}
    assert not orders.run().committed


def test_a_clean_restart_of_a_source_too_large_to_read_goes_on_and_says_so(
    orders: Ingestion, server: PostgresServer
) -> None:
    restart(server)
    orders = dataclasses.replace(orders, dsn=server.dsn("shop"))
    orders.execute("insert into orders values (4)", "select pg_stat_force_next_flush()")

    result = orders.run(reread_limit_bytes=0)

    assert captures(result) == {"orders": (Capture.CHANGES, 1)}
    (warning,) = result.warnings
    assert "restarted" in warning
    assert '{"verify": true}' in warning
    assert orders.run(reread_limit_bytes=0).warnings == ()


def test_a_restart_is_told_once_though_nothing_changed(
    orders: Ingestion, server: PostgresServer
) -> None:
    restart(server)
    orders = dataclasses.replace(orders, dsn=server.dsn("shop"))

    assert len(orders.run(reread_limit_bytes=0).warnings) == 1
    assert not orders.run(reread_limit_bytes=0).warnings


def test_a_restart_after_which_a_counter_is_lower_takes_every_table_whole(
    orders: Ingestion, server: PostgresServer
) -> None:
    rewind_counters(orders)
    restart(server)
    orders = dataclasses.replace(orders, dsn=server.dsn("shop"))

    assert captures(orders.run(reread_limit_bytes=0)) == {"orders": (Capture.WHOLE, 3)}


def test_counters_that_fell_without_a_restart_take_the_table_whole(orders: Ingestion) -> None:
    rewind_counters(orders)
    orders.execute("create table unrelated (id integer)")

    assert captures(orders.run())["orders"] == (Capture.WHOLE, 3)


def test_a_database_that_was_swapped_for_a_copy_of_itself_is_taken_whole(
    orders: Ingestion, server: PostgresServer
) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("create database copy template shop")
        orders.execute("insert into orders values (4)")
        orders.run()
        connection.execute("alter database shop rename to old")
        connection.execute("alter database copy rename to shop")

    result = orders.run()

    assert captures(result) == {"orders": (Capture.WHOLE, 3)}
    server.drop_database("old")


class Disk:
    """The server's data folder, of which an image can be made and restored."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._data = server.log.parent / "data"
        self._image = server.log.parent / "image"

    def save(self) -> None:
        """Copies the folder."""
        shutil.copytree(self._data, self._image)

    def restore(self) -> None:
        """Puts the copy in the folder's place."""
        self._server.stop()
        shutil.rmtree(self._data)
        shutil.move(self._image, self._data)
        owner = self._server.log.stat()
        for path in (self._data, *self._data.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        self._server.start()


def run_after_a_restore(
    orders: Ingestion, server: PostgresServer, *, stopped: bool, limit: int, others: int
) -> IngestResult:
    """Restores a disk image that is older than the last run, goes on from it, and ingests."""
    disk = Disk(server)
    if stopped:
        server.stop()
    else:
        orders.execute("checkpoint")
    disk.save()
    server.start()
    orders = dataclasses.replace(orders, dsn=server.dsn("shop"))
    orders.execute("insert into orders values (4)", "select pg_stat_force_next_flush()")
    orders.run()
    disk.restore()
    orders = dataclasses.replace(orders, dsn=server.dsn("shop"))
    orders.execute("insert into orders values (5)", "select pg_stat_force_next_flush()")
    for _ in range(others):
        orders.execute("select pg_current_xact_id()")
    return orders.run(reread_limit_bytes=limit)


@pytest.mark.parametrize("limit", [0, 2**40])
@pytest.mark.parametrize("others", [0, 100])
def test_a_server_restored_from_a_snapshot_of_its_disk_is_taken_whole(
    orders: Ingestion, server: PostgresServer, limit: int, others: int
) -> None:
    result = run_after_a_restore(orders, server, stopped=False, limit=limit, others=others)

    assert captures(result) == {"orders": (Capture.WHOLE, 4)}


@pytest.mark.parametrize("others", [0, 100])
def test_a_server_restored_from_a_copy_of_its_stopped_disk_is_taken_whole(
    orders: Ingestion, server: PostgresServer, others: int
) -> None:
    result = run_after_a_restore(orders, server, stopped=True, limit=2**40, others=others)

    assert captures(result) == {"orders": (Capture.WHOLE, 4)}


def test_a_restore_that_cannot_be_told_from_a_restart_names_the_proof(
    orders: Ingestion, server: PostgresServer
) -> None:
    result = run_after_a_restore(orders, server, stopped=True, limit=0, others=100)

    assert '{"verify": true}' in result.warnings[0]


def test_a_standby_that_was_promoted_is_taken_whole(
    orders: Ingestion, server: PostgresServer
) -> None:
    signal_file = server.log.parent / "data" / "standby.signal"
    server.stop()
    signal_file.touch()
    server.start()
    orders = dataclasses.replace(orders, dsn=server.dsn("shop"))
    orders.run()
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("select pg_promote()")

    result = orders.run(reread_limit_bytes=0)

    assert captures(result) == {"orders": (Capture.WHOLE, 3)}


@pytest.mark.parametrize(
    "change",
    [
        lambda epoch: dataclasses.replace(epoch, log_position=epoch.log_position + 10**12),
        lambda epoch: dataclasses.replace(epoch, database_oid=1),
        lambda epoch: dataclasses.replace(epoch, statistics_reset_at=None),
    ],
    ids=["the log went back", "another database", "other statistics"],
)
def test_what_does_not_continue_the_last_run_is_taken_whole(
    orders: Ingestion, change: Callable[[Epoch], Epoch]
) -> None:
    def changed(run: Manifest) -> Manifest:
        assert run.epoch is not None
        return dataclasses.replace(run, epoch=change(run.epoch))

    change_last_run(orders, changed)

    assert captures(orders.run(reread_limit_bytes=0)) == {"orders": (Capture.WHOLE, 3)}


def test_a_manifest_of_the_first_version_goes_on_incrementally(orders: Ingestion) -> None:
    change_last_run(orders, lambda run: dataclasses.replace(run, epoch=None))
    orders.execute("insert into orders values (4)", "select pg_stat_force_next_flush()")

    assert captures(orders.run()) == {"orders": (Capture.CHANGES, 1)}


def test_a_table_that_is_not_taken_after_a_crash_is_taken_whole_when_it_can_be(
    orders: Ingestion, server: PostgresServer
) -> None:
    orders.execute(
        "create role blind login password 'secret'", "delete from orders where order_id = 2"
    )
    crash(server)
    orders = dataclasses.replace(orders, dsn=server.dsn("shop"))
    dsn = psycopg.conninfo.make_conninfo(orders.dsn, user="blind", password="secret")
    orders.execute("select pg_current_xact_id()")

    refused = orders.run(connect=lambda: psycopg.connect(dsn))
    taken = orders.run(reread_limit_bytes=0)

    assert "42501" in refused.tables[0].not_taken
    assert captures(taken) == {"orders": (Capture.WHOLE, 2)}
    assert not orders.run(reread_limit_bytes=0).committed
    orders.execute("drop role blind")


def test_an_ordinary_role_may_read_all_that_tells_the_epoch(
    orders: Ingestion, server: PostgresServer
) -> None:
    orders.execute(
        "create role ordinary login password 'secret'",
        "grant select on all tables in schema public to ordinary",
    )
    dsn = psycopg.conninfo.make_conninfo(orders.dsn, user="ordinary", password="secret")

    result = orders.run(connect=lambda: psycopg.connect(dsn), full_refresh=True)

    assert captures(result) == {"orders": (Capture.WHOLE, 3)}
    orders.execute("drop owned by ordinary", "drop role ordinary")


@pytest.mark.usefixtures("hurried")
def test_a_step_backwards_is_remembered_for_tables_that_are_not_taken(orders: Ingestion) -> None:
    with orders.connect() as locker:
        locker.execute("lock table orders in access exclusive mode")
        orders.run()
        change_last_run(
            orders, lambda run: dataclasses.replace(run, next_transaction=run.next_transaction * 2)
        )
        result = orders.run()

    assert (result.committed, result.sequence) == (True, 3)
    assert captures(orders.run()) == {"orders": (Capture.WHOLE, 3)}
