"""Which stack an environment of samconfig.toml is, and where."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Target:
    """A stack, and the account and region that it is deployed to.

    Attributes:
        stack: The stack's name.
        region: The region; None for the one that the AWS SDKs find.
        profile: The profile of the credentials; None for those that the AWS SDKs find.
    """

    stack: str
    region: str | None = None
    profile: str | None = None

    def client(self, service: Any) -> Any:
        """Returns a client of an AWS service."""
        session = boto3.Session(profile_name=self.profile, region_name=self.region)
        return session.client(service)


def target(environment: str, configuration: Path = ROOT / "samconfig.toml") -> Target:
    """Returns the target of an environment, as `sam deploy` reads it."""
    tables = tomllib.loads(configuration.read_text("utf-8"))[environment]
    found: dict[str, Any] = {}
    for command in ("global", "deploy"):
        found |= tables.get(command, {}).get("parameters", {})
    return Target(found["stack_name"], found.get("region"), found.get("profile"))


def is_deployed(where: Target) -> bool:
    """Returns whether the stack exists. One that is under review has no resource yet."""
    try:
        (stack,) = where.client("cloudformation").describe_stacks(StackName=where.stack)["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        return False
    return str(stack["StackStatus"]) != "REVIEW_IN_PROGRESS"
