"""Faults in an account of AWS that the local cloud cannot show, and what mends each."""

import json
import socket
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError, NoRegionError

from doctor.finding import Status
from tests.unit.doctor.answers import (
    ARN,
    BUCKETS,
    GROUP,
    IN_VPC,
    LOGIN,
    Answers,
    Refusal,
    look,
    parameters,
    resources,
)

ANYWHERE = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
SUBNET = {"SubnetId": "subnet-a", "VpcId": "vpc-1", "AvailableIpAddressCount": 9}
TOPIC = "arn:aws:x:::NotificationTopicArn"


def instance(**more: Any) -> dict[str, Any]:
    return {
        "DBInstances": [
            {
                "DBInstanceIdentifier": "totesys",
                "DBInstanceStatus": "available",
                "Endpoint": {"Address": LOGIN["host"]},
                "VpcSecurityGroups": [{"VpcSecurityGroupId": "sg-db"}],
                "DBSubnetGroup": {"Subnets": [{"SubnetIdentifier": "subnet-a"}]},
                **more,
            }
        ]
    }


def groups(egress: list[Any], ingress: list[Any]) -> dict[str, Any]:
    return {
        "SecurityGroups": [
            {"GroupId": GROUP, "IpPermissions": [], "IpPermissionsEgress": egress},
            {"GroupId": "sg-db", "IpPermissions": ingress, "IpPermissionsEgress": []},
        ]
    }


def routes(*targets: dict[str, str]) -> dict[str, Any]:
    default = {"DestinationCidrBlock": "0.0.0.0/0", "State": "active"}
    return {
        "RouteTables": [
            {
                "RouteTableId": "rtb-1",
                "Associations": [{"Main": True}],
                "Routes": [{**default, **target} for target in targets],
            }
        ]
    }


def stack(status: str) -> dict[str, Any]:
    (one,) = parameters()["Stacks"]
    return {"Stacks": [{**one, "StackStatus": status}]}


@dataclass(frozen=True)
class Fault:
    name: str
    check: str
    fix: str
    answers: Answers


IN_A_VPC: Answers = {
    "lambda.GetFunctionConfiguration": IN_VPC,
    "rds.DescribeDBInstances": instance(),
    "ec2.DescribeSubnets": {"Subnets": [SUBNET]},
    "ec2.DescribeRouteTables": routes(),
    "ec2.DescribeVpcEndpoints": {"VpcEndpoints": []},
}
FAULTS = (
    Fault(
        "no region",
        "stack.region",
        "export AWS_DEFAULT_REGION=…",
        {},
    ),
    Fault(
        "no credentials",
        "stack.credentials",
        "aws sso login",
        {"sts.GetCallerIdentity": NoCredentialsError()},
    ),
    Fault(
        "expired credentials",
        "stack.credentials",
        "aws sso login",
        {"sts.GetCallerIdentity": Refusal("ExpiredToken")},
    ),
    Fault(
        "no stack",
        "stack.state",
        "make deploy ENV=dev",
        {
            "cloudformation.DescribeStacks": Refusal(
                "ValidationError", "Stack with id totesys-dev does not exist"
            )
        },
    ),
    Fault(
        "a stack that could not be created",
        "stack.state",
        "aws cloudformation delete-stack --stack-name totesys-dev && make deploy ENV=dev",
        {
            "cloudformation.DescribeStacks": stack("ROLLBACK_COMPLETE"),
            "cloudformation.DescribeStackEvents": {"StackEvents": []},
        },
    ),
    Fault(
        "an update that could not be rolled back",
        "stack.state",
        "aws cloudformation continue-update-rollback --stack-name totesys-dev",
        {
            "cloudformation.DescribeStacks": stack("UPDATE_ROLLBACK_FAILED"),
            "cloudformation.DescribeStackEvents": {"StackEvents": []},
        },
    ),
    Fault(
        "an update that was rolled back",
        "stack.state",
        "make deploy ENV=dev",
        {
            "cloudformation.DescribeStacks": stack("UPDATE_ROLLBACK_COMPLETE"),
            "cloudformation.DescribeStackEvents": {
                "StackEvents": [
                    {
                        "LogicalResourceId": "LoadFunction",
                        "ResourceStatus": "UPDATE_FAILED",
                        "ResourceStatusReason": "the subnet is gone",
                    }
                ]
            },
        },
    ),
    Fault(
        "a star table's source is left out",
        "stack.scope",
        "make deploy ENV=dev PARAMS='SourceTablesLeftOut=…'",
        {
            "lambda.GetFunctionConfiguration": {
                "Environment": {
                    "Variables": {
                        **IN_VPC["Environment"]["Variables"],
                        "SOURCE_TABLES_LEFT_OUT": "staff",
                    }
                }
            }
        },
    ),
    Fault(
        "a secret of another region",
        "stack.secrets_region",
        "make deploy ENV=dev PARAMS='SourceSecretArn=arn:…'",
        {
            "cloudformation.DescribeStacks": parameters(
                SourceSecretArn=ARN.format("source").replace("eu-west-2", "us-east-1")
            )
        },
    ),
    Fault(
        "a secret that does not exist",
        "source.secret",
        "make deploy ENV=dev PARAMS='SourceSecretArn=arn:…'",
        {"secretsmanager.DescribeSecret": Refusal("ResourceNotFoundException")},
    ),
    Fault(
        "a secret under a key that the functions may not use",
        "warehouse.secret",
        "make deploy ENV=dev PARAMS='WarehouseKmsKeyArn=arn:aws:kms:eu-west-2:1:key/2'",
        {"secretsmanager.DescribeSecret": {"KmsKeyId": "arn:aws:kms:eu-west-2:1:key/2"}},
    ),
    Fault(
        "a secret without a host",
        "source.secret",
        f"aws secretsmanager put-secret-value --secret-id {ARN.format('source')} --secret-string",
        {"secretsmanager.GetSecretValue": {"SecretString": '{"username": "reader"}'}},
    ),
    Fault(
        "a certificate that nobody verifies",
        "source.tls",
        "make deploy ENV=dev PARAMS='DatabaseSslMode=verify-full'",
        {
            "lambda.GetFunctionConfiguration": {
                "Environment": {
                    "Variables": {
                        **IN_VPC["Environment"]["Variables"],
                        "DATABASE_SSL_MODE": "require",
                    }
                }
            }
        },
    ),
    Fault(
        "a stopped database",
        "network.instances",
        "aws rds start-db-instance --db-instance-identifier totesys",
        {"rds.DescribeDBInstances": instance(DBInstanceStatus="stopped")},
    ),
    Fault(
        "a private database beside functions in no VPC",
        "network.instances",
        "make deploy ENV=dev PARAMS='VpcSubnetIds=subnet-a VpcSecurityGroupIds=…'",
        {"rds.DescribeDBInstances": instance(PubliclyAccessible=False)},
    ),
    Fault(
        "subnets without addresses",
        "network.subnets",
        "make deploy ENV=dev PARAMS='VpcSubnetIds=…'",
        {
            **IN_A_VPC,
            "ec2.DescribeSubnets": {"Subnets": [{**SUBNET, "AvailableIpAddressCount": 0}]},
        },
    ),
    Fault(
        "a database that does not let the functions in",
        "network.security_groups",
        "aws ec2 authorize-security-group-ingress --group-id sg-db --protocol tcp --port 5432 "
        f"--source-group {GROUP}",
        {**IN_A_VPC, "ec2.DescribeSecurityGroups": groups([ANYWHERE], [])},
    ),
    Fault(
        "functions that are not let out",
        "network.security_groups",
        f"aws ec2 authorize-security-group-egress --group-id {GROUP} --protocol tcp --port 5432",
        {**IN_A_VPC, "ec2.DescribeSecurityGroups": groups([], [ANYWHERE])},
    ),
    Fault(
        "a VPC without a way to S3",
        "network.endpoints",
        "aws ec2 create-vpc-endpoint --vpc-id vpc-1 --service-name com.amazonaws.eu-west-2.s3 "
        "--vpc-endpoint-type Gateway --route-table-ids rtb-1",
        {**IN_A_VPC, "ec2.DescribeRouteTables": routes({"GatewayId": "igw-1"})},
    ),
    Fault(
        "a bucket that AWS's own key encrypts",
        "storage.encryption",
        "aws s3api put-bucket-encryption --bucket rawbucket ",
        {
            "cloudformation.ListStackResources": resources(**BUCKETS),
            "s3.GetBucketEncryption": {
                "ServerSideEncryptionConfiguration": {
                    "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
                }
            },
        },
    ),
    Fault(
        "a bucket without its lifecycle rules",
        "storage.lifecycle",
        "aws s3api put-bucket-lifecycle-configuration --bucket rawbucket ",
        {"s3.GetBucketLifecycleConfiguration": Refusal("NoSuchLifecycleConfiguration")},
    ),
    Fault(
        "a bucket that is gone",
        "storage.buckets",
        "aws s3api create-bucket --bucket rawbucket --region eu-west-2 ",
        {"s3.HeadBucket": Refusal("404")},
    ),
    Fault(
        "an e-mail that nobody confirmed",
        "alerts.subscribers",
        f"aws sns subscribe --topic-arn {TOPIC} --protocol email --notification-endpoint a@b.c",
        {
            "cloudformation.DescribeStacks": parameters(NotificationEmail="a@b.c"),
            "sns.ListSubscriptionsByTopic": {
                "Subscriptions": [{"Endpoint": "a@b.c", "SubscriptionArn": "PendingConfirmation"}]
            },
        },
    ),
    Fault(
        "nobody is told",
        "alerts.subscribers",
        "make deploy ENV=dev PARAMS='NotificationEmail=…'",
        {
            "cloudformation.DescribeStacks": parameters(ScheduleState="ENABLED"),
            "sns.ListSubscriptionsByTopic": {"Subscriptions": []},
        },
    ),
    Fault(
        "a schedule without maintenance",
        "runs.maintenance_schedule",
        "make deploy ENV=dev PARAMS='MaintenanceScheduleState=ENABLED'",
        {
            "cloudformation.DescribeStacks": parameters(
                ScheduleState="ENABLED", MaintenanceScheduleState="DISABLED"
            )
        },
    ),
    Fault(
        "an alarm between two executions",
        "runs.alarm_hours",
        "make deploy ENV=dev PARAMS='HoursWithoutSuccess=12'",
        {
            "cloudformation.DescribeStacks": parameters(
                ScheduleExpression="rate(6 hours)", HoursWithoutSuccess="2"
            )
        },
    ),
    Fault(
        "no execution",
        "runs.last_success",
        "aws stepfunctions start-execution --state-machine-arn arn:aws:x:::StateMachineArn",
        {"stepfunctions.ListExecutions": {"executions": []}},
    ),
    Fault(
        "an execution that failed",
        "runs.last_execution",
        "aws stepfunctions start-execution --state-machine-arn arn:aws:x:::StateMachineArn",
        {
            "stepfunctions.ListExecutions": {
                "executions": [
                    {"name": "one", "executionArn": "arn", "status": "FAILED", "startDate": 1}
                ]
            },
            "stepfunctions.DescribeExecution": {"cause": "Ingest failed with SourceUnavailable"},
        },
    ),
    Fault(
        "a Glue database that is gone",
        "lake.databases",
        'aws glue create-database --database-input \'{"Name": "totesys_dev_star", '
        '"LocationUri": "s3://lakebucket/star"}\'',
        {"glue.GetDatabase": Refusal("EntityNotFoundException")},
    ),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_on_aws_is_found_and_what_mends_it_is_named(fault: Fault) -> None:
    finding = look(fault.check, fault.answers, None if fault.name == "no region" else "eu-west-2")

    assert finding.status is Status.FAULT, finding
    assert finding.fixes[0].startswith(fault.fix), finding.fixes
    assert LOGIN["password"] not in f"{finding}"


def test_the_first_resource_that_failed_is_named_with_its_reason() -> None:
    (fault,) = (one for one in FAULTS if one.name == "an update that was rolled back")

    assert (
        "since LoadFunction failed: the subnet is gone" in look(fault.check, fault.answers).message
    )


@pytest.mark.parametrize(
    ("check", "answers"),
    [
        ("network.instances", {"rds.DescribeDBInstances": instance()}),
        ("network.subnets", IN_A_VPC),
        (
            "network.security_groups",
            {
                **IN_A_VPC,
                "ec2.DescribeSecurityGroups": groups(
                    [ANYWHERE],
                    [
                        {
                            "IpProtocol": "tcp",
                            "FromPort": 5432,
                            "ToPort": 5432,
                            "UserIdGroupPairs": [{"GroupId": GROUP}],
                        }
                    ],
                ),
            },
        ),
        (
            "network.endpoints",
            {**IN_A_VPC, "ec2.DescribeRouteTables": routes({"NatGatewayId": "n"})},
        ),
        (
            "network.endpoints",
            {
                **IN_A_VPC,
                "ec2.DescribeVpcEndpoints": {
                    "VpcEndpoints": [
                        {"ServiceName": f"com.amazonaws.eu-west-2.{name}", "State": "available"}
                        for name in ("s3", "glue", "secretsmanager")
                    ]
                },
            },
        ),
        ("stack.credentials", {}),
        ("stack.state", {}),
        ("source.secret", {}),
    ],
)
def test_no_fault_is_found_where_there_is_none(check: str, answers: Answers) -> None:
    assert look(check, answers).status is Status.OK, look(check, answers)


@pytest.mark.parametrize(
    ("check", "answers", "reason", "fix"),
    [
        (
            "stack.template",
            {"cloudformation.GetTemplate": Refusal("AccessDenied")},
            "AccessDenied",
            "allow your own identity the call GetTemplate",
        ),
        (
            "stack.state",
            {"cloudformation.DescribeStacks": stack("UPDATE_IN_PROGRESS")},
            "see it half done",
            "aws cloudformation wait stack-update-complete --stack-name totesys-dev",
        ),
        (
            "storage.versioning",
            {"s3.GetBucketVersioning": EndpointConnectionError(endpoint_url="https://s3")},
            "Could not connect",
            "",
        ),
        ("storage.versioning", {"s3.GetBucketVersioning": NoRegionError()}, "region", "export"),
        (
            "source.secret",
            {"secretsmanager.GetSecretValue": Refusal("AccessDeniedException")},
            "AccessDenied",
            "allow your own identity secretsmanager:GetSecretValue",
        ),
    ],
)
def test_a_check_that_cannot_be_made_says_why(
    check: str, answers: Answers, reason: str, fix: str
) -> None:
    finding = look(check, answers)

    assert finding.status is Status.UNKNOWN
    assert reason in finding.message
    assert not fix or finding.fixes[0].startswith(fix)


def test_a_database_that_does_not_answer_from_here_is_not_called_a_fault() -> None:
    closed = {
        "secretsmanager.GetSecretValue": {
            "SecretString": '{"host": "127.0.0.1", "port": 1, '
            '"username": "reader", "password": "kept secret"}'
        }
    }

    finding = look("source.reachable", closed)

    assert finding.status is Status.UNKNOWN
    assert "may be outside the source's network" in finding.message


def test_a_host_without_an_address_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr("socket.getaddrinfo", nowhere)
    gone = {
        "secretsmanager.GetSecretValue": {
            "SecretString": '{"host": "db.invalid", '
            '"username": "reader", "password": "kept secret"}'
        }
    }

    finding = look("source.reachable", gone)

    assert finding.status is Status.FAULT
    assert finding.fixes[0].startswith("aws secretsmanager put-secret-value ")


def test_a_bucket_s_policy_keeps_what_others_granted_by_it() -> None:
    grant = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:root"}, "Action": "s3:Get*"}
    tls = {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}

    found = look(
        "storage.policy",
        {
            "s3.GetBucketPolicy": [
                {"Policy": json.dumps({"Statement": grant})},
                Refusal("NoSuchBucketPolicy"),
                {"Policy": json.dumps({"Statement": [grant, tls]})},
            ]
        },
    )

    assert [json.dumps(grant) in fix for fix in found.fixes] == [True, False]
    assert all('"Resource": ["arn:aws:s3:::' in fix for fix in found.fixes)
