"""Picks resources and policy statements out of the template."""

from collections.abc import Iterator
from typing import Any

from tests.template import TEMPLATE

RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
FUNCTION = "AWS::Serverless::Function"
JOB = "AWS::Glue::Job"
STATE_MACHINE = "AWS::Serverless::StateMachine"
ROLE = "AWS::IAM::Role"
BUCKET = "AWS::S3::Bucket"


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    """Returns the properties of every resource of a type, by its name in the template."""
    return {
        name: resource["Properties"]
        for name, resource in RESOURCES.items()
        if resource["Type"] == kind
    }


def statements(policies: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields the statements of policies, those under a condition too."""
    for policy in policies:
        for statement in policy.get("PolicyDocument", policy)["Statement"]:
            yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def role_statements() -> dict[str, list[dict[str, Any]]]:
    """Returns what each role is allowed, by the template's names."""
    return {name: list(statements(role["Policies"])) for name, role in of_type(ROLE).items()}


def as_list(value: Any) -> list[Any]:
    """Returns a value that may stand alone as a list."""
    return value if isinstance(value, list) else [value]
