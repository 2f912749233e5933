"""Who may do what: a role for each function and job, and nothing that it does not need."""

import pytest

from deployment.guard import expanded
from tests.template import TEMPLATE, read_template
from tests.unit.template.resources import (
    FUNCTION,
    JOB,
    RESOURCES,
    ROLE,
    STATE_MACHINE,
    as_list,
    of_type,
    role_statements,
)

WITHOUT_RESOURCES = {
    # X-Ray (Service Authorization Reference, "AWS X-Ray")
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    # What Lambda does to enter a VPC (Lambda Developer Guide, "Required IAM permissions")
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
    # Metrics have namespaces (Service Authorization Reference, "Amazon CloudWatch")
    "cloudwatch:PutMetricData",
    # Log deliveries (Step Functions Developer Guide, "IAM policies for logging to CloudWatch Logs")
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
}
"""Actions that AWS lets nobody restrict to resources, or that AWS's own guides grant on all."""


USERS = {
    "lambda.amazonaws.com": of_type(FUNCTION),
    "glue.amazonaws.com": of_type(JOB),
    "states.amazonaws.com": of_type(STATE_MACHINE),
}
"""Whose roles a service assumes."""


def test_every_function_job_and_state_machine_has_a_role_of_its_own():
    roles = [
        properties["Role"]["Fn::GetAtt"][0]
        for users in USERS.values()
        for properties in users.values()
    ]
    assert sorted(roles) == sorted(of_type(ROLE))


@pytest.mark.parametrize("holder", role_statements())
def test_a_role_names_every_action_in_full(holder):
    for statement in role_statements()[holder]:
        assert statement["Effect"] == "Allow"
        assert not [action for action in as_list(statement["Action"]) if "*" in action]


@pytest.mark.parametrize("holder", role_statements())
def test_a_role_reaches_all_resources_only_by_actions_that_know_none(holder):
    for statement in role_statements()[holder]:
        if "*" in as_list(statement["Resource"]):
            assert set(as_list(statement["Action"])) <= WITHOUT_RESOURCES


def test_metrics_are_written_into_glue_s_namespace_alone():
    written = [
        statement
        for held in role_statements().values()
        for statement in held
        if statement["Action"] == "cloudwatch:PutMetricData"
    ]
    assert written
    for statement in written:
        assert statement["Condition"] == {"StringEquals": {"cloudwatch:namespace": "Glue"}}


@pytest.mark.parametrize("name", of_type(ROLE))
def test_a_role_is_assumed_by_one_service_alone(name):
    (statement,) = RESOURCES[name]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    users = USERS[statement["Principal"]["Service"]].values()
    assert {"Fn::GetAtt": [name, "Arn"]} in [user["Role"] for user in users]


def test_each_job_writes_its_own_tables_alone():
    written = {
        name: {
            resource["Fn::Sub"].removeprefix("${LakeBucket.Arn}/star/")
            for statement in role_statements()[f"{name}Role"]
            if "s3:PutObject" in as_list(statement["Action"])
            for resource in as_list(statement["Resource"])
        }
        for name in ("BuildStar", "BuildDimensions", "BuildFacts", "MaintainTables")
    }
    assert written == {
        "BuildStar": {"dim_*", "fact_*", "quarantine*"},
        "BuildDimensions": {"dim_*"},
        "BuildFacts": {"fact_*", "quarantine*"},
        "MaintainTables": {"dim_*", "fact_*", "quarantine*"},
    }


def test_maintenance_neither_reads_the_raw_zone_nor_makes_tables():
    for statement in role_statements()["MaintainTablesRole"]:
        assert "RawBucket" not in str(statement["Resource"])
        assert "glue:CreateTable" not in as_list(statement["Action"])


@pytest.mark.parametrize("holder", role_statements())
@pytest.mark.parametrize("bucket", ["RawBucket", "LakeBucket"])
def test_who_reads_a_bucket_is_told_which_object_is_missing(holder, bucket):
    # Amazon S3 API Reference, "GetObject": without s3:ListBucket an object that is not there is
    # answered by 403 and not by 404.
    allowed = {
        action
        for statement in role_statements()[holder]
        if bucket in str(statement["Resource"])
        for action in as_list(statement["Action"])
    }
    assert "s3:GetObject" not in allowed or "s3:ListBucket" in allowed


def test_nobody_deletes_from_the_raw_zone():
    for held in role_statements().values():
        for statement in held:
            if "s3:DeleteObject" in as_list(statement["Action"]):
                assert "RawBucket" not in str(statement["Resource"])


@pytest.mark.parametrize(
    "statements",
    [
        of_type("AWS::SNS::TopicPolicy")["NotificationTopicPolicy"]["PolicyDocument"]["Statement"],
        of_type("AWS::KMS::Key")["NotificationKey"]["KeyPolicy"]["Statement"],
    ],
    ids=["topic", "key"],
)
def test_eventbridge_and_alarms_may_notify_by_statements_of_their_own(statements):
    allowed = {
        statement["Principal"]["Service"]: statement
        for statement in statements
        if statement["Effect"] == "Allow" and "Service" in statement["Principal"]
    }
    assert allowed.keys() == {"events.amazonaws.com", "cloudwatch.amazonaws.com"}
    # EventBridge delivers to an encrypted topic only where no condition stands (SNS Developer
    # Guide, "Enable compatibility between event sources from AWS services and encrypted topics").
    assert "Condition" not in allowed["events.amazonaws.com"]
    alarms = allowed["cloudwatch.amazonaws.com"]
    assert alarms["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


@pytest.mark.parametrize("name", of_type(ROLE))
def test_a_role_is_assumed_for_this_account_alone(name):
    (statement,) = RESOURCES[name]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Condition"] == {
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    }


def test_nobody_reads_the_artifacts_of_other_stacks():
    assert "aws-sam-cli-managed" not in str(TEMPLATE)


def test_every_role_has_the_boundary_that_an_account_demands_and_none_unless_it_is_given():
    # With the roles that AWS SAM makes for the schedules.
    roles = [
        resource["Properties"]
        for resource in expanded(read_template("template.yaml"))["Resources"].values()
        if resource["Type"] == ROLE
    ]
    assert len(roles) == len(of_type(ROLE)) + len(of_type(STATE_MACHINE))
    for role in roles:
        assert role["PermissionsBoundary"] == {
            "Fn::If": ["HasBoundary", "", {"Ref": "AWS::NoValue"}]
        }
