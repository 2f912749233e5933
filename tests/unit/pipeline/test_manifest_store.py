"""The manifest store, where Amazon S3 does not do as it should."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from pipeline.errors import ManifestInvalid, ObjectStoreUnavailable, RunConflict
from pipeline.manifest import Manifest, ManifestStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RUN = Manifest(1, "a-run", "2026-01-01T00:00:00Z", "1/1", 9, {})


@pytest.fixture
def client() -> "S3Client":
    """A client of an Amazon S3 that is out of reach."""
    return boto3.client(
        "s3",
        endpoint_url="http://127.0.0.1:1",
        region_name="eu-west-2",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 0}),
    )


def test_every_call_of_a_store_out_of_reach_is_worth_a_retry(client: "S3Client") -> None:
    unreachable = ManifestStore("raw", client)

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
        ("put_object", "PreconditionFailed", RunConflict),
        ("put_object", "ConditionalRequestConflict", RunConflict),
    ],
)
def test_an_answer_of_amazon_s3_becomes_an_error_of_the_pipeline(
    client: "S3Client", call: str, code: str, expected: type[Exception]
) -> None:
    store = ManifestStore("raw", client)
    actions: dict[str, Callable[[], object]] = {
        "list_objects_v2": store.newest,
        "get_object": lambda: store.read(1),
        "put_object": lambda: store.commit(RUN),
    }
    with Stubber(client) as stub:
        stub.add_client_error(call, service_error_code=code)

        with pytest.raises(expected):
            actions[call]()


def test_a_manifest_of_a_newer_format_asks_for_its_code() -> None:
    text = RUN.to_json().replace('"format": 1', '"format": 2')

    with pytest.raises(ManifestInvalid, match="another format"):
        Manifest.from_json(text, "runs/0000000001.json")
