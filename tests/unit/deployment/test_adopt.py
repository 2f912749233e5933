"""What a deleted stack left: found by its record, and described for its import."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from deployment import adopt
from deployment.adopt import AdoptionFailed, Retained, import_template, retained
from deployment.target import Target, is_deployed, target
from tests.template import TEMPLATE

RAW = Retained("RawBucket", "AWS::S3::Bucket", "totesys-rawbucket-1")
LAKE = Retained("LakeBucket", "AWS::S3::Bucket", "totesys-lakebucket-1")
STAR = Retained("StarDatabase", "AWS::Glue::Database", "totesys_star")
RETAINED = {
    name: resource
    for name, resource in TEMPLATE["Resources"].items()
    if "DeletionPolicy" in resource
}


@dataclass(frozen=True)
class Account(Target):
    """An account as its records of stacks and its resources say."""

    stack: str = "totesys"
    deleted: dict[str, list[Retained]] = field(default_factory=dict)
    existing: frozenset[str] = frozenset()
    status: str = ""

    def client(self, service: Any) -> Any:
        return self

    def get_paginator(self, operation: str) -> Any:
        return {"list_stacks": _Stacks(self), "describe_stack_events": _Events(self)}[operation]

    def describe_stacks(self, StackName: str) -> Any:  # noqa: N803
        if not self.status:
            raise _refused("ValidationError")
        return {"Stacks": [{"StackStatus": self.status}]}

    def head_bucket(self, Bucket: str) -> None:  # noqa: N803
        if Bucket not in self.existing:
            raise _refused("404")

    def get_database(self, Name: str) -> None:  # noqa: N803
        if Name not in self.existing:
            raise _refused("EntityNotFoundException")


class _Stacks:
    def __init__(self, account: Account) -> None:
        self._account = account

    def paginate(self, StackStatusFilter: list[str]) -> Any:  # noqa: N803
        assert StackStatusFilter == ["DELETE_COMPLETE"]
        for day, stack_id in enumerate(self._account.deleted, start=1):
            created = datetime(2026, 1, day, tzinfo=UTC)
            one = {"StackId": stack_id, "CreationTime": created}
            yield {"StackSummaries": [one | {"StackName": stack_id.split("/")[0]}]}


class _Events:
    def __init__(self, account: Account) -> None:
        self._account = account

    def paginate(self, StackName: str) -> Any:  # noqa: N803
        for one in self._account.deleted[StackName]:
            event = {"ResourceStatus": "DELETE_SKIPPED", "LogicalResourceId": one.logical_id}
            event |= {"ResourceType": one.kind, "PhysicalResourceId": one.name}
            yield {"StackEvents": [event | {"ResourceStatus": "DELETE_COMPLETE"}, event]}


def _refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "any")


def test_the_newest_deleted_stack_of_the_name_that_left_something_is_the_one():
    older = Retained("RawBucket", "AWS::S3::Bucket", "totesys-rawbucket-0")
    account = Account(
        deleted={"totesys/1": [older], "totesys/2": [RAW], "totesys/3": [], "other/4": [LAKE]},
        existing=frozenset({older.name, RAW.name, LAKE.name}),
    )
    assert retained(account) == (RAW,)


def test_what_was_deleted_by_hand_is_not_adopted():
    account = Account(deleted={"totesys/1": [STAR, RAW, LAKE]}, existing=frozenset({LAKE.name}))
    assert retained(account) == (LAKE,)
    assert retained(Account(deleted={"totesys/1": [STAR, RAW]})) == ()


def test_a_resource_that_a_replacement_left_long_ago_is_not_taken_for_the_one_in_use():
    replaced = Retained("RawBucket", "AWS::S3::Bucket", "totesys-rawbucket-0")
    account = Account(
        deleted={"totesys/1": [RAW, replaced]}, existing=frozenset({RAW.name, replaced.name})
    )
    assert retained(account) == (RAW,)


def test_a_resource_that_may_not_be_looked_at_is_not_taken_for_missing(monkeypatch):
    def refuse(_account: Account, **_names: str) -> None:
        raise _refused("403")

    monkeypatch.setattr(Account, "head_bucket", refuse)
    with pytest.raises(ClientError, match="403"):
        retained(Account(deleted={"totesys/1": [RAW]}))


@pytest.mark.parametrize(
    ("status", "deployed"),
    [("", False), ("REVIEW_IN_PROGRESS", False), ("UPDATE_COMPLETE", True)],
)
def test_a_stack_that_exists_is_updated_and_adopts_nothing(status, deployed):
    assert is_deployed(Account(status=status)) is deployed


def test_everything_that_the_template_retains_can_be_adopted_together():
    adopted = tuple(
        Retained(name, resource["Type"], f"name-of-{name}") for name, resource in RETAINED.items()
    )
    assert {one.kind for one in adopted} <= adopt._IDENTIFIERS.keys()

    document = import_template(TEMPLATE, adopted)

    assert document["Resources"].keys() == RETAINED.keys()
    for name, resource in document["Resources"].items():
        assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
        if resource["Type"] == "AWS::Glue::Database":
            assert resource["Properties"]["DatabaseInput"]["Name"] == f"name-of-{name}"
        else:
            assert resource["Properties"] == RETAINED[name]["Properties"]
    assert document.keys() == {"AWSTemplateFormatVersion", "Resources"}


def test_a_database_whose_bucket_is_gone_is_refused_with_what_to_do():
    with pytest.raises(AdoptionFailed, match=r"StarDatabase refers to LakeBucket.*ADOPT=no"):
        import_template(TEMPLATE, (RAW, STAR))


def test_nothing_is_done_without_credentials_and_the_reason_is_said(monkeypatch, capsys):
    def refuse(_where: Target) -> bool:
        raise _refused("ExpiredToken")

    monkeypatch.setattr(adopt, "is_deployed", refuse)
    assert adopt.main(["--config-env", "dev"]) == 1
    assert "ExpiredToken" in capsys.readouterr().err


def test_an_environment_is_the_stack_and_the_region_that_sam_deploys_to(tmp_path):
    assert target("prod") == Target("totesys-prod")
    assert target("local") == Target("totesys", region="eu-west-2")
    (tmp_path / "samconfig.toml").write_text(
        '[dev.global.parameters]\nstack_name = "mine"\nprofile = "data"\n'
        '[dev.deploy.parameters]\nregion = "eu-west-1"\n'
    )
    assert target("dev", tmp_path / "samconfig.toml") == Target("mine", "eu-west-1", "data")
