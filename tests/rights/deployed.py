"""The policies of the deployed template, as AWS SAM expands it, without intrinsic functions.

The local cloud resolves CloudFormation's functions. Names that AWS would make are those of the
template, in lower case.
"""

import copy
from collections.abc import Mapping
from typing import Any, Final

import boto3
from ministack.core.responses import set_request_region
from ministack.services.cloudformation import engine
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from tests.template import TEMPLATE

ACCOUNT: Final = "000000000000"
REGION: Final = "eu-west-2"
STACK: Final = "totesys"
_ARN = f"arn:aws:{{}}:{REGION}:{ACCOUNT}:{{}}"
_SECRET = _ARN.format("secretsmanager", "secret:{}-AbCdEf")
_KEY = _ARN.format("kms", "key/{}")
REQUIRED: Final = {
    "SourceSecretArn": _SECRET.format("source"),
    "WarehouseSecretArn": _SECRET.format("warehouse"),
}
"""The values of the parameters that have no default."""
EVERYTHING: Final = REQUIRED | {
    "SourceKmsKeyArn": _KEY.format("source"),
    "WarehouseKmsKeyArn": _KEY.format("warehouse"),
    "NotificationEmail": "ada@example.com",
    "VpcSubnetIds": "subnet-1,subnet-2",
    "VpcSecurityGroupIds": "sg-1",
}
"""The values of parameters with which the template has every statement."""

_NAME_PROPERTIES = {
    "AWS::Glue::Job": "Name",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::StepFunctions::StateMachine": "StateMachineName",
}
_ARNS = {
    "AWS::Events::Rule": _ARN.format("events", "rule/{}"),
    "AWS::DynamoDB::Table": _ARN.format("dynamodb", "table/{}"),
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{{}}",
    "AWS::KMS::Key": _KEY,
    "AWS::Lambda::Function": _ARN.format("lambda", "function:{}"),
    "AWS::Logs::LogGroup": _ARN.format("logs", "log-group:{}:*"),
    "AWS::S3::Bucket": "arn:aws:s3:::{}",
    "AWS::SQS::Queue": _ARN.format("sqs", "{}"),
}
_ARN_IS_REF = {
    "AWS::SNS::Topic": _ARN.format("sns", "{}"),
    "AWS::StepFunctions::StateMachine": _ARN.format("states", "stateMachine:{}"),
}
"""Types whose `Ref` is the ARN."""
_POLICIES_OF = {
    "AWS::S3::BucketPolicy": "Bucket",
    "AWS::SNS::TopicPolicy": "Topics",
    "AWS::SQS::QueuePolicy": "Queues",
}

Policy = dict[str, Any]


class DeployedTemplate:
    """The template as CloudFormation deploys it with some parameters.

    Args:
        parameters: The values of the parameters without a default, and of others.

    Attributes:
        names: The names of its resources.
        role_policies: The identity policies of each role, by its name in the template.
        managed_policies: The ARNs of the managed policies of each role.
        trust: The trust policy of each role.
        resource_policies: The policies of buckets, topics, queues and keys, by their names.
    """

    def __init__(self, parameters: Mapping[str, str]) -> None:
        provided = [{"Key": name, "Value": value} for name, value in parameters.items()]
        self._parameters = engine._resolve_parameters(TEMPLATE, provided)
        self._conditions = engine._evaluate_conditions(TEMPLATE, self._parameters)
        resources = {
            name: resource
            for name, resource in _expanded()["Resources"].items()
            if self._conditions.get(resource.get("Condition", ""), True)
        }
        self._named: dict[str, Any] = {}
        for name, resource in resources.items():
            self._named[name] = self._physical(name, resource)
        self.names = set(self._named)
        roles = {
            name: self.resolved(resource["Properties"])
            for name, resource in resources.items()
            if resource["Type"] == "AWS::IAM::Role"
        }
        self.role_policies: dict[str, list[Policy]] = {
            name: [policy["PolicyDocument"] for policy in role.get("Policies", [])]
            for name, role in roles.items()
        }
        self.managed_policies: dict[str, list[str]] = {
            name: role.get("ManagedPolicyArns", []) for name, role in roles.items()
        }
        self.trust = {name: role["AssumeRolePolicyDocument"] for name, role in roles.items()}
        self.resource_policies = self._resource_policies(resources)

    def resolved(self, value: Any) -> Any:
        """Returns a value of the template without intrinsic functions."""
        set_request_region(REGION)
        return engine._resolve_refs(
            value, self._named, self._parameters, self._conditions, {}, STACK, STACK
        )

    def arn(self, text: str) -> str:
        """Returns an ARN that is written as in `Fn::Sub`."""
        return str(self.resolved({"Fn::Sub": text}))

    def arn_of(self, name: str) -> str:
        """Returns the ARN of a resource of the template."""
        named = self._named[name]
        return str(named["Attributes"].get("Arn") or named["PhysicalResourceId"])

    def _physical(self, name: str, resource: dict[str, Any]) -> dict[str, Any]:
        kind = resource["Type"]
        own = self.resolved(resource.get("Properties", {}).get(_NAME_PROPERTIES.get(kind)))
        physical = str(own or f"{STACK}-{name.lower()}")
        if kind == "AWS::Glue::Database":
            physical = self.resolved(resource["Properties"]["DatabaseInput"]["Name"])
        arn = _ARNS.get(kind, "").format(physical)
        physical = _ARN_IS_REF.get(kind, "{}").format(physical)
        return {"PhysicalResourceId": physical, "Attributes": {"Arn": arn} if arn else {}}

    def _resource_policies(self, resources: dict[str, Any]) -> dict[str, Policy]:
        found = {}
        for name, resource in resources.items():
            properties = resource.get("Properties", {})
            if resource["Type"] == "AWS::KMS::Key":
                found[name] = self.resolved(properties["KeyPolicy"])
            if holder := _POLICIES_OF.get(resource["Type"]):
                owners = properties[holder]
                for owner in owners if isinstance(owners, list) else [owners]:
                    found[owner["Ref"]] = self.resolved(properties["PolicyDocument"])
        return found


def _expanded() -> dict[str, Any]:
    """Returns the template as AWS SAM expands it."""
    template = copy.deepcopy(TEMPLATE)
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    for resource in template["Resources"].values():
        if "DefinitionUri" in resource["Properties"]:
            resource["Properties"]["DefinitionUri"] = "s3://bucket/key"
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=REGION))
    return dict(translator.translate(template, {}))
