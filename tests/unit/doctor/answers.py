"""A stack in an account of AWS, of which each call has a given answer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3
from botocore.exceptions import NoCredentialsError
from botocore.loaders import Loader, create_loader
from botocore.session import get_session

from doctor.finding import Finding
from doctor.place import Place
from doctor.registry import CHECKS
from doctor.running import run_all

STACK = "totesys-dev"
ARN = "arn:aws:secretsmanager:eu-west-2:123456789012:secret:{}-AbCdEf"
SUBNETS, GROUP = ["subnet-a", "subnet-b"], "sg-functions"
LOGIN: dict[str, Any] = {
    "host": "db.example.com",
    "port": 5432,
    "username": "reader",
    "password": "kept secret",
}
VARIABLES = {
    "SOURCE_SECRET_ARN": ARN.format("source"),
    "WAREHOUSE_SECRET_ARN": ARN.format("warehouse"),
    "RAW_BUCKET": "raw",
    "LAKE_BUCKET": "lake",
    "ARTIFACTS_BUCKET": "artifacts",
    "GLUE_DATABASE": "totesys_dev_star",
    "RAW_GLUE_DATABASE": "totesys_dev_raw",
    "PREVIEW_LOG_GROUP": "previews",
    "POWERTOOLS_METRICS_NAMESPACE": "ToteSys/totesys-dev",
}


@dataclass(frozen=True)
class Refusal:
    """An answer that is an error: its code and its message."""

    code: str
    message: str = "refused"


Answers = Mapping[str, Any]
"""Answers by `service.Operation`: a dictionary, a Refusal, or an exception of botocore; or a list
of them, one for each call."""


def parameters(**given: str) -> dict[str, Any]:
    """Returns the answer that describes the stack with some parameters."""
    return {
        "Stacks": [
            {
                "StackName": STACK,
                "StackStatus": "UPDATE_COMPLETE",
                "Parameters": [
                    {"ParameterKey": name, "ParameterValue": value} for name, value in given.items()
                ],
                "Outputs": [
                    {"OutputKey": name, "OutputValue": f"arn:aws:x:::{name}"}
                    for name in (
                        "StateMachineArn",
                        "MaintenanceStateMachineArn",
                        "NotificationTopicArn",
                        "PipelineTable",
                    )
                ],
            }
        ]
    }


def resources(**types: str) -> dict[str, Any]:
    """Returns the answer that lists resources by their logical ids and types."""
    return {
        "StackResourceSummaries": [
            {"LogicalResourceId": name, "ResourceType": kind, "PhysicalResourceId": name.lower()}
            for name, kind in types.items()
        ]
    }


def function(**more: Any) -> dict[str, Any]:
    """Returns the configuration of a function."""
    return {"Environment": {"Variables": VARIABLES}, **more}


IN_VPC = function(VpcConfig={"SubnetIds": SUBNETS, "SecurityGroupIds": [GROUP]})
BUCKETS = dict.fromkeys(("RawBucket", "LakeBucket", "ArtifactsBucket"), "AWS::S3::Bucket")
DEFAULT: Answers = {
    "sts.GetCallerIdentity": {
        "Arn": "arn:aws:iam::123456789012:user/me",
        "Account": "123456789012",
    },
    "cloudformation.DescribeStacks": parameters(),
    "cloudformation.ListStackResources": resources(**BUCKETS),
    "lambda.GetFunctionConfiguration": function(),
    "secretsmanager.DescribeSecret": {"ARN": ARN},
    "secretsmanager.GetSecretValue": {"SecretString": json.dumps(LOGIN)},
}


def place(answers: Answers, region: str | None = "eu-west-2") -> Place:
    """Returns a stack in an account where each call has its answer."""
    made = Place("dev", STACK)
    core = get_session()
    core.register_component("data_loader", _loader())
    session = boto3.Session(
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name=region,
        botocore_session=core,
    )
    session.events.register("before-call", _answering({**DEFAULT, **answers}))
    made.__dict__["session"] = session
    return made


def look(name: str, answers: Answers, region: str | None = "eu-west-2") -> Finding:
    """Makes one check where each call has its answer."""
    (check,) = (one for one in CHECKS if one.name == name)
    ((_, finding),) = run_all([check], place(answers, region))
    return finding


@cache
def _loader() -> Loader:
    """Returns what reads the services' descriptions, once for all sessions."""
    return create_loader()


class _Http:
    def __init__(self, status: int) -> None:
        self.status_code = status
        self.headers: dict[str, str] = {}


def _answering(answers: Answers) -> Any:
    def answer(model: Any, **_: object) -> tuple[_Http, dict[str, Any]]:
        given = answers.get(
            f"{model.service_model.service_name}.{model.name}", NoCredentialsError()
        )
        if isinstance(given, list):
            given = given.pop(0)
        if isinstance(given, Exception):
            raise given
        if isinstance(given, Refusal):
            error = {"Code": given.code, "Message": given.message}
            return _Http(400), {"Error": error, "ResponseMetadata": {"HTTPStatusCode": 400}}
        return _Http(200), given

    return answer
