"""The source moves to another server: a restore, a failover, a standby."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lambdas.ingest import change_capture
from local.postgres import PostgresServer
from pipeline.manifest import Capture, Manifest, key_of
from tests.fixtures.postgres import running_server
from tests.integration.ingest.ingestion import Ingestion, captures, not_taken

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SOURCE = (
    "create table design (design_id integer primary key)",
    "insert into design values (1), (2)",
)


@pytest.fixture(scope="module")
def other_server() -> Iterator[PostgresServer]:
    """A server that is not the source's."""
    with running_server("other", {"fsync": "off"}) as server:
        yield server


@pytest.fixture
def standby(raw_bucket: str, s3: "S3Client", other_server: PostgresServer) -> Iterator[Ingestion]:
    """A source that was a primary at the first run and is a standby since."""
    primary = Ingestion(other_server.create_database("primary"), raw_bucket, s3)
    primary.execute(*SOURCE, "create unlogged table draft (id integer primary key)")
    primary.run()
    primary.execute("insert into design values (3)")
    other_server.stop()
    signal = Path(other_server.log).parent / "data" / "standby.signal"
    signal.touch()
    other_server.start()
    yield primary
    other_server.stop()
    signal.unlink()
    other_server.start()
    other_server.drop_database("primary")


def test_every_table_is_taken_whole_from_another_server(
    ingestion: Ingestion, other_server: PostgresServer
) -> None:
    restored = dataclasses.replace(ingestion, dsn=other_server.create_database("restored"))
    for source in (ingestion, restored):
        source.execute(*SOURCE)
    ingestion.run()

    result = restored.run()

    assert captures(result) == {"design": (Capture.WHOLE, 2)}
    assert not restored.run().committed


@pytest.mark.parametrize(
    "last",
    [
        lambda run: dataclasses.replace(run, system_identifier=run.system_identifier + "0"),
        lambda run: dataclasses.replace(run, next_transaction=run.next_transaction + 1000),
        lambda run: dataclasses.replace(
            run,
            tables={
                name: dataclasses.replace(table, horizon=table.horizon - 2**31)
                for name, table in run.tables.items()
            },
        ),
    ],
    ids=["another timeline", "transactions that have not happened", "2^31 transactions ago"],
)
def test_a_source_that_cannot_be_compared_with_the_last_run_is_taken_whole(
    ingestion: Ingestion, last: Callable[[Manifest], Manifest]
) -> None:
    ingestion.execute(*SOURCE)
    ingestion.run()
    manifest = last(ingestion.manifest()).to_json().encode()
    ingestion.client.put_object(Bucket=ingestion.bucket, Key=key_of(1), Body=manifest)

    assert captures(ingestion.run()) == {"design": (Capture.WHOLE, 2)}


def test_a_standby_is_read_and_its_counters_are_not_believed(
    standby: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_capture, "LARGE_TABLE_BYTES", 0)

    standby.run()
    assert {"design_id": 3} in standby.taken("design")
    last = standby.manifest()
    earlier = dataclasses.replace(last, next_transaction=last.next_transaction - 1)
    body = earlier.to_json().encode()
    standby.client.put_object(Bucket=standby.bucket, Key=key_of(last.sequence), Body=body)

    standby.run()

    result = standby.run()
    assert captures(result)["design"] == (Capture.NONE, 0)
    assert result.scanned_bytes > 0


def test_a_table_that_a_standby_cannot_read_costs_no_other(standby: Ingestion) -> None:
    result = standby.run()

    assert list(not_taken(result)) == ["draft"]
    assert "0A000: cannot access temporary or unlogged relations" in not_taken(result)["draft"]
    assert "read it from the primary server" in not_taken(result)["draft"]
    assert {"design_id": 3} in standby.taken("design")
