"""The source is a restored dump: its rows and counters do not continue those of the last run."""

import dataclasses
import os
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING, LiteralString

import pytest

from lambdas.ingest import change_capture
from local.postgres import BINARIES, SUPERUSER, PostgresServer
from pipeline.manifest import Capture
from tests.fixtures.postgres import running_server
from tests.integration.ingest.ingestion import Ingestion, captures

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

USED_UP = """do $$ begin
    for number in 1..{} loop
        perform pg_current_xact_id();
        commit;
    end loop;
end $$"""
PAYMENTS: tuple[LiteralString, ...] = (
    "create table payment (payment_id integer primary key, paid boolean not null)",
    "insert into payment values (1, false), (2, false), (3, false)",
)
CHANGES: tuple[LiteralString, ...] = (
    "update payment set paid = true where payment_id = 3",
    "delete from payment where payment_id = 2",
)
TRUSTING = "local all all trust\nhost all all 127.0.0.1/32 trust\n"
KEPT = [{"payment_id": 1, "paid": False}, {"payment_id": 3, "paid": True}]


@pytest.fixture(scope="module")
def new_server() -> Iterator[PostgresServer]:
    """The server that dumps are restored into."""
    with running_server("restored", {"fsync": "off"}) as server:
        yield server


@pytest.fixture
def payments(ingestion: Ingestion) -> Ingestion:
    """A source of three payments, which a first run has taken."""
    ingestion.execute(*PAYMENTS)
    ingestion.run()
    return ingestion


def dump_of(source: Ingestion, *options: str) -> bytes:
    """Returns the dump of a source."""
    dumping = [str(BINARIES / "pg_dump"), *options, "--dbname", source.dsn]
    return subprocess.run(dumping, check=True, stdout=subprocess.PIPE).stdout


def restore(dump: bytes, dsn: str) -> None:
    """Restores a dump into a database."""
    restoring = [str(BINARIES / "psql"), "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", dsn]
    subprocess.run(restoring, check=True, input=dump, stdout=subprocess.DEVNULL)


def use_up(source: Ingestion, transactions: int) -> None:
    """Takes transaction ids of a source's server."""
    with source.connect() as connection:
        connection.autocommit = True
        connection.execute(USED_UP.format(transactions).encode())


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("ids", ["smaller", "greater"])
def test_a_dump_that_was_restored_and_changed_is_taken_whole(
    payments: Ingestion,
    new_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    ids: str,
    *,
    large: bool,
) -> None:
    monkeypatch.setattr(change_capture, "LARGE_TABLE_BYTES", 0 if large else 2**40)
    name = f"restored_{ids}_{large}".lower()
    restored = dataclasses.replace(payments, dsn=new_server.create_database(name))
    restore(dump_of(payments), restored.dsn)
    restored.execute(*CHANGES)
    before = payments.manifest().next_transaction
    with restored.connect() as connection:
        row = connection.execute("select pg_current_xact_id()::text::bigint").fetchone()
    assert row is not None
    use_up(*((restored, before - row[0] + 1000) if ids == "greater" else (payments, row[0])))
    if ids == "smaller":
        payments.run(full_refresh=True)

    result = restored.run(reread_limit_bytes=0)

    assert captures(result) == {"payment": (Capture.WHOLE, 2)}
    assert sorted(restored.taken("payment"), key=str) == KEPT
    assert not restored.run(reread_limit_bytes=0).committed


def upgrade(old: PostgresServer, new: PostgresServer) -> None:
    """Moves the databases of a server to another one, as to another version of PostgreSQL."""
    for server in (old, new):
        server.stop()
        # The two have different passwords, and pg_upgrade takes one.
        (server.log.with_name("data") / "pg_hba.conf").write_text(TRUSTING)
    owner = new.log.stat()
    is_root = os.geteuid() == 0
    subprocess.run(
        [
            str(BINARIES / "pg_upgrade"),
            *("--old-bindir", str(BINARIES), "--new-bindir", str(BINARIES)),
            *("--old-datadir", str(old.log.with_name("data"))),
            *("--new-datadir", str(new.log.with_name("data"))),
            *("--username", SUPERUSER, "--socketdir", str(new.socket_folder)),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=new.log.parent,
        user=owner.st_uid if is_root else None,
        group=owner.st_gid if is_root else None,
        extra_groups=[] if is_root else None,
    )
    new.start()


def test_an_upgrade_that_keeps_every_id_takes_every_table_whole(
    raw_bucket: str, s3: "S3Client", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_capture, "LARGE_TABLE_BYTES", 0)
    fast = {"fsync": "off"}
    with running_server("old", fast) as old, running_server("new", fast) as new:
        source = Ingestion(old.create_database("shop"), raw_bucket, s3)
        source.execute(*PAYMENTS)
        source.run()
        source.execute(*CHANGES)
        upgrade(old, new)
        source = dataclasses.replace(source, dsn=new.dsn("shop"))

        result = source.run(reread_limit_bytes=0)

        assert captures(result) == {"payment": (Capture.WHOLE, 2)}
        assert sorted(source.taken("payment"), key=str) == KEPT


@pytest.mark.parametrize("options", [(), ("--data-only",)], ids=["all", "its rows"])
def test_a_dump_that_was_restored_into_its_own_database_is_taken_whole(
    payments: Ingestion, options: tuple[str, ...]
) -> None:
    dump = dump_of(payments, *options)
    payments.execute("update payment set paid = true")
    payments.run()
    payments.execute("truncate payment" if options else "drop table payment")
    restore(dump, payments.dsn)

    payments.run()

    assert {row["paid"] for row in payments.taken("payment")} == {False}
    assert len(payments.taken("payment")) == 3
