"""Raw files are told from what others put in their place."""

from typing import TYPE_CHECKING

import boto3
import pytest

from pipeline.manifest import Manifest, ManifestStore
from pipeline.object_store import ObjectStore
from pipeline.written_files import Written, by_folder, unlike_in_folder
from tests.fixtures.captures import capture_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FILES = tuple(f"raw/design/day=04/{run:010d}-0000.parquet" for run in range(1, 6))


@pytest.fixture
def client(moto_bucket: str) -> "S3Client":
    return boto3.client("s3")


@pytest.fixture
def objects(client: "S3Client") -> ObjectStore:
    return ObjectStore("raw", client)


@pytest.fixture
def written(objects: ObjectStore) -> dict[str, Written]:
    """What was written of files of one folder."""
    for key in FILES:
        objects.put_new(key, key.encode())
    found = {one.key: one for one in objects.keys("raw/")}
    return {key: Written(found[key].size, found[key].etag, objects.sha256(key)) for key in FILES}


def put_in_parts(client: "S3Client", key: str, content: bytes) -> None:
    """Writes an object with an ETag that is not the digest of its content."""
    upload = client.create_multipart_upload(Bucket="raw", Key=key)["UploadId"]
    part = client.upload_part(Bucket="raw", Key=key, UploadId=upload, PartNumber=1, Body=content)
    client.complete_multipart_upload(
        Bucket="raw",
        Key=key,
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )


def test_the_files_that_were_written_are_told_from_those_that_others_put_there(
    objects: ObjectStore, client: "S3Client", written: dict[str, Written]
) -> None:
    assert unlike_in_folder(objects, written) == {}
    objects.put(FILES[0], b"")
    objects.put(FILES[1], FILES[0].encode())
    objects.put(FILES[2], b"PAR1")
    put_in_parts(client, FILES[3], FILES[0].encode())
    client.delete_object(Bucket="raw", Key=FILES[4])

    assert unlike_in_folder(objects, written) == {
        FILES[0]: f"has 0 bytes, and {len(FILES[0])} were written",
        FILES[1]: "has other content than was written",
        FILES[2]: f"has 4 bytes, and {len(FILES[0])} were written",
        FILES[3]: "has other content than was written",
        FILES[4]: "is missing",
    }


def test_a_copy_of_a_file_is_as_good_as_the_file(
    objects: ObjectStore, client: "S3Client", written: dict[str, Written]
) -> None:
    put_in_parts(client, FILES[0], FILES[0].encode())

    found = objects.find(FILES[0])
    assert found
    assert found.etag != written[FILES[0]].etag
    assert unlike_in_folder(objects, written) == {}


def test_a_file_of_which_less_is_known_is_compared_by_that(
    objects: ObjectStore, written: dict[str, Written]
) -> None:
    objects.put(FILES[0], b"")
    objects.put(FILES[1], FILES[0].encode())
    objects.put(FILES[2], b"PAR1")
    known = {
        FILES[0]: Written(),
        FILES[1]: Written(written[FILES[1]].size),
        FILES[2]: Written(written[FILES[2]].size),
    }

    assert unlike_in_folder(objects, known) == {
        FILES[0]: "has 0 bytes",
        FILES[2]: f"has 4 bytes, and {len(FILES[2])} were written",
    }


def test_no_object_is_read_that_is_as_it_was_written(
    objects: ObjectStore, client: "S3Client", written: dict[str, Written]
) -> None:
    calls: list[str] = []
    client.meta.events.register("before-call.s3", lambda model, **_: calls.append(model.name))
    objects.put("raw/design/day=05/0000000006-0000.parquet", b"PAR1")
    calls.clear()

    assert unlike_in_folder(objects, written) == {}
    assert unlike_in_folder(objects, {FILES[2]: written[FILES[2]]}) == {}
    assert calls == ["ListObjectsV2"] * 2


def test_files_are_listed_by_folder() -> None:
    keys = ("raw/a/day=1/1", "raw/a/day=2/3", "raw/a/day=1/2")

    assert list(by_folder(dict.fromkeys(keys, Written()))) == [
        {keys[0]: Written(), keys[2]: Written()},
        {keys[1]: Written()},
    ]


def test_a_manifest_keeps_what_was_written(moto_bucket: str) -> None:
    capture = capture_of(
        1,
        1,
        files=FILES[:2],
        written=(Written(1, "a", "b"), Written(2, "c", "d")),
        key_files=FILES[2:3],
        keys_written=(Written(3, "e", "f"),),
    )
    run = Manifest(1, "run-1", "2026-01-01T00:00:00Z", "1/1", 9, {"design": capture})
    ManifestStore(moto_bucket, boto3.client("s3")).commit(run)

    read = ManifestStore(moto_bucket, boto3.client("s3")).read(1).tables["design"]

    assert read == capture
    assert read.written_files == {FILES[0]: Written(1, "a", "b"), FILES[1]: Written(2, "c", "d")}
    assert read.written_key_files == {FILES[2]: Written(3, "e", "f")}
