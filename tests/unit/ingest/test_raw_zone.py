"""Raw files are put once, under a name of their own."""

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.stub import Stubber

from lambdas.ingest.raw_zone import RawZone
from pipeline.errors import ObjectStoreUnavailable
from pipeline.written_files import Written

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

TAKEN_AT = "2026-03-04T05:06:07.000008Z"


@pytest.fixture
def part(tmp_path: Path) -> Path:
    path = tmp_path / "part.parquet"
    path.write_bytes(b"rows")
    return path


def test_a_file_that_is_there_already_stays_and_the_next_takes_another_number(
    moto_bucket: str, part: Path
) -> None:
    client = boto3.client("s3")
    zone = RawZone(moto_bucket, client, 7, TAKEN_AT)
    first, _ = zone.put(RawZone.ROWS, "design", part)
    part.write_bytes(b"other rows")

    second, written = zone.put(RawZone.ROWS, "design", part)

    assert first == "raw/design/year=2026/month=03/day=04/0000000007-0000.parquet"
    assert second == "raw/design/year=2026/month=03/day=04/0000000007-0001.parquet"
    assert client.get_object(Bucket="raw", Key=first)["Body"].read() == b"rows"
    found = client.get_object(Bucket="raw", Key=second)
    assert written == Written(10, found["ETag"].strip('"'), sha256(b"other rows").hexdigest())


def test_files_are_put_once_however_many_there_are(moto_bucket: str, part: Path) -> None:
    client = boto3.client("s3")
    puts: list[str] = []
    client.meta.events.register(
        "before-call.s3.PutObject", lambda params, **_: puts.append(params["url_path"])
    )
    zone = RawZone(moto_bucket, client, 7, TAKEN_AT)
    for number in range(10):
        zone.put(RawZone.ROWS, "design", part, first=number // 2)
    later = RawZone(moto_bucket, client, 7, TAKEN_AT)
    later.put(RawZone.ROWS, "design", part, first=10)

    assert len(puts) == 11


def test_equal_rows_of_two_chunks_are_two_files(moto_bucket: str, part: Path) -> None:
    zone = RawZone(moto_bucket, boto3.client("s3"), 7, TAKEN_AT)

    assert zone.put(RawZone.ROWS, "design", part) != zone.put(RawZone.ROWS, "design", part)


def test_an_object_store_out_of_reach_is_worth_a_retry(
    unreachable_s3: "S3Client", part: Path
) -> None:
    with pytest.raises(ObjectStoreUnavailable, match="s3://raw/raw_keys/design/"):
        RawZone("raw", unreachable_s3, 1, TAKEN_AT).put(RawZone.KEYS, "design", part)


def test_an_object_store_that_refuses_is_worth_a_retry(
    unreachable_s3: "S3Client", part: Path
) -> None:
    with Stubber(unreachable_s3) as stub:
        stub.add_client_error("put_object", service_error_code="SlowDown")

        with pytest.raises(ObjectStoreUnavailable, match="SlowDown"):
            RawZone("raw", unreachable_s3, 1, TAKEN_AT).put(RawZone.ROWS, "design", part)
