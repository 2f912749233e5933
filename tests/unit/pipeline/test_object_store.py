"""Objects of Amazon S3: what is written, and what becomes of S3's errors."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber

from pipeline.errors import AccessRefused, ObjectArchived, ObjectMissing, ObjectStoreUnavailable
from pipeline.object_store import Body, ObjectStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "get_object": lambda objects: objects.get("a/key"),
    "put_object": lambda objects: objects.put("a/key", b"text"),
    "list_objects_v2": lambda objects: list(objects.keys("a/")),
    "delete_objects": lambda objects: objects.delete(["a/key"]),
}
LARGE = random.Random(7).randbytes(3 * 1024 * 1024)


@pytest.fixture
def client(moto_bucket: str) -> "S3Client":
    return boto3.client("s3")


@pytest.fixture
def objects(moto_bucket: str, client: "S3Client") -> ObjectStore:
    return ObjectStore(moto_bucket, client)


@pytest.fixture(params=["bytes", "file"])
def body(request: pytest.FixtureRequest, tmp_path: Path) -> Body:
    """The same three megabytes, once held in memory and once in a file."""
    path = tmp_path / "body"
    path.write_bytes(LARGE)
    return path if request.param == "file" else LARGE


def losing_the_first_answer(client: "S3Client", monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a PUT arrive twice, as the SDK sends it once more after a lost answer."""
    put_object = client.put_object

    def twice(**arguments: Any) -> object:
        put_object(**arguments)
        if hasattr(arguments["Body"], "seek"):
            arguments["Body"].seek(0)
        return put_object(**arguments)

    monkeypatch.setattr(client, "put_object", twice)


def test_an_object_reads_as_it_was_written(objects: ObjectStore, body: Body) -> None:
    objects.put("a/key", body)

    assert objects.get("a/key") == LARGE


def test_a_second_put_replaces_the_object(objects: ObjectStore) -> None:
    objects.put("a/key", b"first")

    objects.put("a/key", b"second")

    assert objects.get("a/key") == b"second"


def test_the_type_of_the_content_is_kept(objects: ObjectStore, client: "S3Client") -> None:
    objects.put("a/key", b"{}", "application/json")

    stored = client.head_object(Bucket="raw", Key="a/key")
    assert stored["ContentType"] == "application/json"


def test_a_missing_object_is_an_error_of_its_own(objects: ObjectStore) -> None:
    with pytest.raises(ObjectMissing, match="s3://raw/a/key"):
        objects.get("a/key")

    assert objects.get_if_there("a/key") is None


def test_an_empty_object_is_there(objects: ObjectStore) -> None:
    objects.put("a/key", b"")

    assert objects.get_if_there("a/key") == b""


def test_an_object_is_put_where_there_is_none(objects: ObjectStore, body: Body) -> None:
    assert objects.put_if_absent("a/key", body)

    assert objects.get("a/key") == LARGE


@pytest.mark.parametrize("other", [b"", LARGE[:-1], LARGE + b".", LARGE[:-1] + b"."])
def test_an_object_of_another_writer_stays(objects: ObjectStore, body: Body, other: bytes) -> None:
    objects.put("a/key", other)

    assert not objects.put_if_absent("a/key", body)

    assert objects.get("a/key") == other


def test_a_put_whose_answer_was_lost_has_succeeded(
    objects: ObjectStore, client: "S3Client", body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing_the_first_answer(client, monkeypatch)

    assert objects.put_if_absent("a/key", body)


def test_a_new_object_is_never_one_that_was_there(objects: ObjectStore, body: Body) -> None:
    assert objects.put_new("a/key", body)

    assert not objects.put_new("a/key", body)


def test_a_conflict_of_two_writers_is_tried_again(unreachable_s3: "S3Client") -> None:
    with Stubber(unreachable_s3) as stub:
        stub.add_client_error("put_object", service_error_code="ConditionalRequestConflict")
        stub.add_client_error("put_object", service_error_code="ConditionalRequestConflict")
        stub.add_response("put_object", {"ETag": '"1"'})

        assert ObjectStore("raw", unreachable_s3).put_if_absent("a/key", b"text")

        stub.assert_no_pending_responses()


def test_a_conflict_that_lasts_is_worth_a_retry_of_the_whole(
    unreachable_s3: "S3Client", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.object_store.time.sleep", lambda seconds: None)
    with Stubber(unreachable_s3) as stub:
        for _ in range(5):
            stub.add_client_error("put_object", service_error_code="ConditionalRequestConflict")

        with pytest.raises(ObjectStoreUnavailable, match="s3://raw/a/key"):
            ObjectStore("raw", unreachable_s3).put_if_absent("a/key", b"text")


def test_a_listing_has_all_pages_in_order(objects: ObjectStore, client: "S3Client") -> None:
    paginate = client.get_paginator("list_objects_v2").paginate
    for number in range(5):
        objects.put(f"a/{number}", b"")
    objects.put("b/0", b"")

    found = [entry.key for entry in objects.keys("a/", start_after="a/1")]

    assert found == ["a/2", "a/3", "a/4"]
    (page,) = paginate(Bucket="raw", Prefix="a/4")
    (last,) = objects.keys("a/4")
    assert last.last_modified == page["Contents"][0]["LastModified"]


def test_more_keys_than_one_call_takes_are_deleted(objects: ObjectStore) -> None:
    keys = [f"a/{number:04d}" for number in range(1001)]
    for key in (keys[0], keys[999], keys[1000]):
        objects.put(key, b"")

    objects.delete(keys)

    assert not list(objects.keys("a/"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [("AccessDenied", AccessRefused), ("InternalError", ObjectStoreUnavailable)],
)
def test_a_key_that_could_not_be_deleted_is_named(
    unreachable_s3: "S3Client", code: str, expected: type[Exception]
) -> None:
    with Stubber(unreachable_s3) as stub:
        stub.add_response("delete_objects", {"Errors": [{"Key": "a/key", "Code": code}]})

        with pytest.raises(expected, match="s3://raw/a/key"):
            ObjectStore("raw", unreachable_s3).delete(["a/key"])


@pytest.mark.parametrize("call", CALLS)
def test_a_store_that_cannot_be_reached_is_worth_a_retry(
    unreachable_s3: "S3Client", call: str
) -> None:
    with pytest.raises(ObjectStoreUnavailable, match="s3://raw/a/"):
        CALLS[call](ObjectStore("raw", unreachable_s3))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("SlowDown", 503, ObjectStoreUnavailable),
        ("InternalError", 500, ObjectStoreUnavailable),
        ("ExpiredToken", 403, ObjectStoreUnavailable),
        ("RequestTimeTooSkewed", 403, ObjectStoreUnavailable),
        ("AccessDenied", 403, AccessRefused),
        ("AllAccessDisabled", 403, AccessRefused),
        ("403", 403, AccessRefused),
    ],
)
def test_a_refused_right_is_permanent_and_all_else_is_worth_a_retry(
    unreachable_s3: "S3Client", call: str, code: str, status: int, expected: type[Exception]
) -> None:
    with Stubber(unreachable_s3) as stub:
        stub.add_client_error(call, service_error_code=code, http_status_code=status)

        with pytest.raises(expected, match=f"s3://raw/a/.*{code}") as translated:
            CALLS[call](ObjectStore("raw", unreachable_s3))

    assert ("grant" in str(translated.value)) == (expected is AccessRefused)


@pytest.mark.parametrize(
    "call",
    [lambda objects: objects.get("a/key"), lambda objects: objects.get_if_there("a/key")],
)
def test_an_archived_object_is_neither_refused_nor_worth_a_retry(
    unreachable_s3: "S3Client", call: Callable[[ObjectStore], object]
) -> None:
    with Stubber(unreachable_s3) as stub:
        stub.add_client_error(
            "get_object", service_error_code="InvalidObjectState", http_status_code=403
        )

        with pytest.raises(ObjectArchived, match=r"s3://raw/a/key.*restore the object") as archived:
            call(ObjectStore("raw", unreachable_s3))

    assert "grant" not in str(archived.value)
