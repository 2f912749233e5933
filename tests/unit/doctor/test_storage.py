"""What is looked at in the raw zone."""

import hashlib
import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from doctor.checks import storage
from doctor.finding import Finding, Status
from pipeline.manifest import Manifest, ManifestStore
from pipeline.written_files import Written
from tests.fixtures.captures import capture_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PARQUET = Written(4, hashlib.md5(b"PAR1").hexdigest(), hashlib.sha256(b"PAR1").hexdigest())
FILE, KEYS = "raw/design/0000000001-0000.parquet", "raw_keys/design/0000000001-0000.parquet"


@pytest.fixture
def look(moto_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Finding]:
    """Looks at a raw zone of one run, with a file of rows and one of keys."""
    client = boto3.client("s3")
    capture = capture_of(
        1, 1, files=(FILE,), written=(PARQUET,), key_files=(KEYS,), keys_written=(PARQUET,)
    )
    run = Manifest(1, "run-1", "2026-01-01T00:00:00Z", "1/1", 9, {"design": capture})
    ManifestStore(moto_bucket, client).commit(run)
    for key in (FILE, KEYS):
        client.put_object(Bucket=moto_bucket, Key=key, Body=b"PAR1")
    place: Any = SimpleNamespace(
        resource=lambda logical: moto_bucket, client=lambda service: client, is_local=False
    )
    monkeypatch.setattr(storage, "pipeline_item", lambda place: {"loaded_through": "1"})
    return lambda: storage._runs(place)


@pytest.fixture
def client(moto_bucket: str) -> "S3Client":
    return boto3.client("s3")


@pytest.mark.parametrize(
    "key", ["runs/_SUCCESS", "runs/", "runs/0000000001.json.bak", "runs/year=2026/0000000002.json"]
)
def test_an_object_that_is_no_manifest_is_not_counted_as_one(
    look: Callable[[], Finding], client: "S3Client", key: str
) -> None:
    client.put_object(Bucket="raw", Key=key, Body=b"")

    assert look().status is Status.OK


@pytest.mark.parametrize("key", [FILE, KEYS])
@pytest.mark.parametrize("body", [b"", b"PAR", b"PAR1PAR1", b"PAR2"])
def test_a_raw_file_that_was_replaced_is_a_fault(
    look: Callable[[], Finding], client: "S3Client", key: str, body: bytes
) -> None:
    client.put_object(Bucket="raw", Key=key, Body=io.BytesIO(body))

    assert f"s3://raw/{key} of run 1 is not the file that Ingest wrote" in str(look())


@pytest.mark.parametrize("archive", ["GLACIER", "DEEP_ARCHIVE"])
def test_a_raw_file_in_an_archive_is_a_fault(
    look: Callable[[], Finding], client: "S3Client", archive: Any
) -> None:
    client.put_object(Bucket="raw", Key=FILE, Body=b"PAR1", StorageClass=archive)

    found = str(look())

    assert f"s3://raw/{FILE} of run 1 is in the archive {archive}" in found
    assert f"aws s3api restore-object --bucket raw --key '{FILE}'" in found
