"""The roles' policies allow each call of the suite and of AWS itself, and nothing else."""

import pytest

from local.cloud.calls import Call
from tests.rights.aws_calls import AWS_CALLS
from tests.rights.deployed import EVERYTHING, REQUIRED, DeployedTemplate
from tests.rights.grants import unused
from tests.rights.replay import RECORDED, calls_of, denials, named


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    """The recorded calls."""
    return calls_of(RECORDED)


@pytest.mark.parametrize("parameters", [REQUIRED, EVERYTHING], ids=["required", "everything"])
def test_every_recorded_call_is_allowed(calls, parameters):
    assert denials(calls, DeployedTemplate(parameters)) == []


def test_every_call_that_aws_makes_itself_is_allowed(template):
    assert denials(list(AWS_CALLS), template) == []


def test_without_any_action_or_resource_of_a_statement_some_call_is_denied(calls, template):
    lacking = unused(calls + list(AWS_CALLS), template)

    assert [f"{grant.role}: {grant.value}" for grant in lacking] == []


def test_every_role_has_calls(calls, template):
    assert {call.role for call in [*calls, *AWS_CALLS]} == set(template.role_policies)


def test_no_role_has_policies_that_the_replay_does_not_see(template):
    assert not any(template.managed_policies.values())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            Call("LoadRole", "s3:DeleteObject", "arn:${AWS::Partition}:s3:::${LakeBucket}/star/0"),
            "LoadRole may not s3:DeleteObject on arn:${AWS::Partition}:s3:::${LakeBucket}/star/0",
        ),
        (
            Call("IngestRole", "secretsmanager:GetSecretValue", "${WarehouseSecretArn}"),
            "IngestRole may not secretsmanager:GetSecretValue on ${WarehouseSecretArn}",
        ),
        (
            Call(
                "BuildFactsRole", "cloudwatch:PutMetricData", "*", (("cloudwatch:namespace", "X"),)
            ),
            "BuildFactsRole may not cloudwatch:PutMetricData on * with "
            "{'cloudwatch:namespace': 'X'}",
        ),
    ],
)
def test_a_call_without_a_grant_is_told_by_role_action_and_resource(template, call, words):
    (told, *_) = denials([call], template)

    assert told.startswith(f"{words}: ImplicitlyDenied. Grant the action to {call.role}")


def test_a_grant_that_nothing_uses_is_found(calls, template):
    of_role = [call for call in [*calls, *AWS_CALLS] if call.role == "PipelineRole"]
    kept = [call for call in of_role if call.action != "dynamodb:UpdateItem"]

    found = {grant.value for grant in unused(kept, template) if grant.role == "PipelineRole"}

    assert found == {"dynamodb:UpdateItem", template.arn_of("PipelineTable")}


def test_the_calls_of_aws_are_about_resources_that_exist(template):
    names = {named(call) for call in AWS_CALLS} - {""}

    assert names <= template.names
