"""The session from which a function makes its clients."""

import gc
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import UnknownServiceError
from botocore.loaders import JSONFileLoader

from pipeline.aws_session import default_session


@pytest.fixture(autouse=True)
def no_session_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that has made no client yet."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    yield
    gc.unfreeze()


def test_a_client_is_made_without_a_look_at_the_descriptions_of_other_services(
    moto_aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    exists = JSONFileLoader.exists

    def noted(self: JSONFileLoader, path: str) -> bool:
        looked_at.append(path)
        return exists(self, path)

    monkeypatch.setattr(JSONFileLoader, "exists", noted)

    default_session().client("s3")

    assert {Path(path).parts[-3] for path in looked_at} == {"s3"}


def test_boto3_makes_its_own_clients_from_the_same_session(moto_aws: None) -> None:
    made = default_session()

    boto3.client("glue")

    assert default_session() is boto3.DEFAULT_SESSION is made


def test_a_service_that_aws_does_not_have_is_named_as_ever(moto_aws: None) -> None:
    with pytest.raises(UnknownServiceError, match="Unknown service: 's4'"):
        default_session().client("s4")  # type: ignore[call-overload]


def test_no_collection_walks_the_description_of_a_service(moto_aws: None) -> None:
    made = default_session().client("s3")

    described = made.meta.service_model.metadata

    assert made.meta.service_model.operation_names
    assert not any(one is described for one in gc.get_objects())


def test_what_an_invocation_leaves_is_not_kept_because_it_makes_a_client(moto_aws: None) -> None:
    default_session().client("s3").get_paginator("list_objects_v2")
    kept = gc.get_freeze_count()
    garbage = [[]]  # type: ignore[var-annotated]

    default_session().client("s3").get_paginator("list_objects_v2")

    assert gc.get_freeze_count() <= kept
    assert any(one is garbage for one in gc.get_objects())
