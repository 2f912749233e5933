"""Deletes versions of the pipeline's functions that nothing uses any more: `make prune`.

Each deployment that changes a function publishes a version, and AWS SAM keeps the old ones. An
account has 75 GB for their code in a region (AWS Lambda Developer Guide, "Lambda quotas").
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from deployment.target import Target, target

KEPT = 5
"""How many versions of a function stay, the newest, whatever uses them: a deployment that fails
rolls back to an older one."""


@dataclass(frozen=True)
class Version:
    """A published version of a function.

    Attributes:
        arn: Its ARN.
        number: Its number.
        size: The bytes of its code.
    """

    arn: str
    number: int
    size: int


def unused(versions: Iterable[Version], used: set[str], kept: int = KEPT) -> list[Version]:
    """Returns the versions that are neither used nor among the newest."""
    ordered = sorted(versions, key=lambda version: version.number)
    return [
        version for version in ordered[: max(len(ordered) - kept, 0)] if version.arn not in used
    ]


def used_versions(where: Target) -> set[str]:
    """Returns the ARNs that aliases and definitions name, those of running executions too."""
    client = where.client("stepfunctions")
    (machine,) = _of_type(where, "AWS::StepFunctions::StateMachine", "PipelineStateMachine")
    found = _versions_in(client.describe_state_machine(stateMachineArn=machine)["definition"])
    pages = client.get_paginator("list_executions")
    for page in pages.paginate(stateMachineArn=machine, statusFilter="RUNNING"):
        for execution in page["executions"]:
            of_run = client.describe_state_machine_for_execution(
                executionArn=execution["executionArn"]
            )
            found |= _versions_in(of_run["definition"])
    return found


def _versions_in(definition: str) -> set[str]:
    return set(re.findall(r"arn:[\w-]+:lambda:[\w-]+:\d+:function:[\w-]+:\d+", definition))


def _of_type(where: Target, kind: str, logical_id: str = "") -> list[str]:
    pages = where.client("cloudformation").get_paginator("list_stack_resources")
    return [
        resource["PhysicalResourceId"]
        for page in pages.paginate(StackName=where.stack)
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] == kind and resource["LogicalResourceId"].startswith(logical_id)
    ]


def prune(where: Target) -> Iterator[Version]:
    """Deletes what is unused of every function of the stack, and yields each deleted version."""
    client: Any = where.client("lambda")
    used = used_versions(where)
    for function in _of_type(where, "AWS::Lambda::Function"):
        versions = [
            Version(one["FunctionArn"], int(one["Version"]), one["CodeSize"])
            for page in client.get_paginator("list_versions_by_function").paginate(
                FunctionName=function
            )
            for one in page["Versions"]
            if one["Version"] != "$LATEST"
        ]
        aliases = client.list_aliases(FunctionName=function)["Aliases"]
        named = {alias["FunctionVersion"] for alias in aliases}
        used |= {version.arn for version in versions if str(version.number) in named}
        for version in unused(versions, used):
            client.delete_function(FunctionName=function, Qualifier=str(version.number))
            yield version


def main(arguments: list[str]) -> int:
    """Prunes the functions of an environment's stack, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deployment.prune")
    parser.add_argument("--config-env", required=True)
    options = parser.parse_args(arguments)
    freed = 0
    try:
        for version in prune(target(options.config_env)):
            freed += version.size
            sys.stdout.write(f"deleted {version.arn}\n")
    except (BotoCoreError, ClientError) as error:
        sys.stderr.write(f"Not every unused version was deleted: {error}\n")
        return 1
    sys.stdout.write(f"{freed / 1e6:.0f} MB freed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
