"""Which versions of functions stay, and which are deleted."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError

from deployment import prune
from deployment.prune import KEPT, Version, unused
from deployment.target import Target

ARN = "arn:aws:lambda:eu-west-2:000000000000:function:totesys-ingest"
MACHINE = "arn:aws:states:eu-west-2:000000000000:stateMachine:totesys-pipeline"


def versions(*numbers: int) -> list[Version]:
    return [Version(f"{ARN}:{number}", number, 80_000_000) for number in numbers]


@dataclass(frozen=True)
class Account(Target):
    """A stack with one function, whose definition and running execution name versions."""

    stack: str = "totesys"
    published: int = 12
    deleted: list[str] = field(default_factory=list)

    def client(self, service: Any) -> Any:
        return self

    def get_paginator(self, operation: str) -> Any:
        return _Pages(self, operation)

    def describe_state_machine(self, stateMachineArn: str) -> Any:  # noqa: N803
        assert stateMachineArn == MACHINE
        return {"definition": f'{{"FunctionName": "{ARN}:12"}}'}

    def describe_state_machine_for_execution(self, executionArn: str) -> Any:  # noqa: N803
        return {"definition": f'{{"FunctionName": "{ARN}:{executionArn}"}}'}

    def list_aliases(self, FunctionName: str) -> Any:  # noqa: N803
        return {"Aliases": [{"Name": "live", "FunctionVersion": "3"}]}

    def delete_function(self, FunctionName: str, Qualifier: str) -> None:  # noqa: N803
        self.deleted.append(Qualifier)


class _Pages:
    def __init__(self, account: Account, operation: str) -> None:
        self._account, self._operation = account, operation

    def paginate(self, **asked: str) -> Any:
        if self._operation == "list_stack_resources":
            kinds = {
                "IngestFunction": ("AWS::Lambda::Function", "totesys-ingest"),
                "PipelineStateMachine": ("AWS::StepFunctions::StateMachine", MACHINE),
                "MaintenanceStateMachine": ("AWS::StepFunctions::StateMachine", "another"),
            }
            for name, (kind, physical) in kinds.items():
                one = {"LogicalResourceId": name, "ResourceType": kind}
                yield {"StackResourceSummaries": [one | {"PhysicalResourceId": physical}]}
        elif self._operation == "list_executions":
            assert asked["statusFilter"] == "RUNNING"
            yield {"executions": [{"executionArn": "5"}]}
        else:
            numbers = ["$LATEST", *map(str, range(1, self._account.published + 1))]
            for number in numbers:
                one = {"FunctionArn": f"{ARN}:{number}", "Version": number}
                yield {"Versions": [one | {"CodeSize": 80_000_000}]}


def test_the_newest_versions_stay_and_older_ones_go():
    assert [v.number for v in unused(versions(3, 1, 2, 10), set(), kept=2)] == [1, 2]
    assert unused(versions(1, 2), set()) == []


def test_a_version_that_is_used_stays_however_old_it_is():
    assert [v.number for v in unused(versions(1, 2, 3), {f"{ARN}:1"}, kept=1)] == [2]
    # A version's ARN that begins like a used one is another version.
    assert [v.number for v in unused(versions(1, 11, 12), {f"{ARN}:11"}, kept=1)] == [1]


def test_what_an_alias_the_definition_or_a_running_execution_names_is_kept(monkeypatch, capsys):
    account = Account()
    monkeypatch.setattr(prune, "target", lambda _environment: account)

    assert prune.main(["--config-env", "dev"]) == 0

    assert account.deleted == ["1", "2", "4", "6", "7"]
    assert KEPT == 5
    assert "400 MB freed" in capsys.readouterr().out


def test_what_aws_refuses_is_said(monkeypatch, capsys):
    def refuse(_where: Target) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ListExecutions")

    monkeypatch.setattr(prune, "used_versions", refuse)
    monkeypatch.setattr(prune, "target", lambda _environment: Account())
    assert prune.main(["--config-env", "dev"]) == 1
    assert "AccessDenied" in capsys.readouterr().err


@pytest.mark.parametrize("partition", ["aws", "aws-us-gov"])
def test_versions_are_read_in_any_partition(partition):
    arn = ARN.replace("arn:aws:", f"arn:{partition}:")
    assert prune._versions_in(f'"{arn}:7", "{arn}:$LATEST", "{arn}"') == {f"{arn}:7"}
