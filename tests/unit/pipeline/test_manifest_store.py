"""The manifest store, where Amazon S3 does not do as it should."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.stub import Stubber

from pipeline.errors import AccessRefused, ManifestInvalid, ObjectStoreUnavailable
from pipeline.manifest import Manifest, ManifestStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RUN = Manifest(1, "a-run", "2026-01-01T00:00:00Z", "1/1", 9, {})


def test_every_call_of_a_store_out_of_reach_is_worth_a_retry(unreachable_s3: "S3Client") -> None:
    unreachable = ManifestStore("raw", unreachable_s3)

    with pytest.raises(ObjectStoreUnavailable, match="list s3://raw/runs/"):
        unreachable.newest()
    with pytest.raises(ObjectStoreUnavailable, match=r"read s3://raw/runs/0000000001\.json"):
        unreachable.read(1)
    with pytest.raises(ObjectStoreUnavailable, match=r"write s3://raw/runs/0000000001\.json"):
        unreachable.commit(RUN)


@pytest.mark.parametrize(
    ("call", "code", "expected"),
    [
        ("list_objects_v2", "SlowDown", ObjectStoreUnavailable),
        ("get_object", "SlowDown", ObjectStoreUnavailable),
        ("get_object", "NoSuchKey", ManifestInvalid),
        ("put_object", "SlowDown", ObjectStoreUnavailable),
        ("list_objects_v2", "AccessDenied", AccessRefused),
        ("get_object", "AccessDenied", AccessRefused),
        ("put_object", "AccessDenied", AccessRefused),
    ],
)
def test_an_answer_of_amazon_s3_becomes_an_error_of_the_pipeline(
    unreachable_s3: "S3Client", call: str, code: str, expected: type[Exception]
) -> None:
    store = ManifestStore("raw", unreachable_s3)
    actions: dict[str, Callable[[], object]] = {
        "list_objects_v2": store.newest,
        "get_object": lambda: store.read(1),
        "put_object": lambda: store.commit(RUN),
    }
    with Stubber(unreachable_s3) as stub:
        stub.add_client_error(call, service_error_code=code)

        with pytest.raises(expected):
            actions[call]()


def test_a_commit_whose_answer_was_lost_is_a_commit(moto_bucket: str) -> None:
    store = ManifestStore(moto_bucket, boto3.client("s3"))
    store.commit(RUN)

    store.commit(RUN)

    assert store.read(1) == RUN


def test_objects_that_are_no_manifests_are_not_taken_for_runs(moto_bucket: str) -> None:
    client = boto3.client("s3")
    store = ManifestStore(moto_bucket, client)
    store.commit(RUN)
    for key in ("runs/", "runs/0000000001.json.bak", "runs/9.json", "runs/notes.txt"):
        client.put_object(Bucket=moto_bucket, Key=key, Body=b"")

    assert store.newest() == RUN


def test_a_manifest_of_a_newer_format_asks_for_its_code() -> None:
    document = json.loads(RUN.to_json()) | {"format": 3}
    text = json.dumps({name: value for name, value in document.items() if name != "sha256"})

    with pytest.raises(ManifestInvalid, match="another format"):
        Manifest.from_json(text, "runs/0000000001.json", lambda _: RUN)
