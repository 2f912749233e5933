"""Gives what a deleted stack left to the next stack of its name.

A deleted stack leaves its buckets, its DynamoDB table and its Glue databases. CloudFormation does
not create what exists. A change set of the type IMPORT makes a stack of these resources alone, and
changes none of them; `sam deploy` then updates that stack (AWS CloudFormation User Guide, "Create a
stack from existing resources"). Automatic import (`ImportExistingResources`) takes resources with a
literal name only, and these have none.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, WaiterError
from samtranslator.yaml_helper import yaml_parse

from deployment.target import ROOT, Target, is_deployed, target

_IDENTIFIERS = {
    "AWS::S3::Bucket": "BucketName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::Glue::Database": "DatabaseName",
}
"""By what CloudFormation identifies a resource that it imports: its type's primary identifier."""

_CHANGE_SET = "adopt-what-a-deleted-stack-left"
_POLLS = {"Delay": 3, "MaxAttempts": 200}
_MISSING = {"404", "NoSuchBucket", "ResourceNotFoundException", "EntityNotFoundException"}


class AdoptionFailed(Exception):
    """CloudFormation does not import what a deleted stack left. The message has its reason."""


@dataclass(frozen=True)
class Retained:
    """A resource that a deleted stack left.

    Attributes:
        logical_id: Its name in the template.
        kind: Its type.
        name: Its name in the account.
    """

    logical_id: str
    kind: str
    name: str


def retained(where: Target) -> tuple[Retained, ...]:
    """Returns what the last deleted stack of the name left, as far as it still exists.

    CloudFormation keeps the record of a deleted stack for 90 days.
    """
    for stack_id in _deleted(where):
        if found := [one for one in _skipped(where, stack_id) if _exists(where, one)]:
            return tuple(sorted(found, key=lambda one: one.logical_id))
    return ()


def _deleted(where: Target) -> list[str]:
    """Returns the ids of the name's deleted stacks, the newest first."""
    pages = where.client("cloudformation").get_paginator("list_stacks")
    stacks = [
        stack
        for page in pages.paginate(StackStatusFilter=["DELETE_COMPLETE"])
        for stack in page["StackSummaries"]
        if stack["StackName"] == where.stack
    ]
    stacks.sort(key=lambda stack: stack["CreationTime"], reverse=True)
    return [stack["StackId"] for stack in stacks]


def _skipped(where: Target, stack_id: str) -> list[Retained]:
    """Returns what the deletion of a stack skipped: of each resource the newest such event."""
    pages = where.client("cloudformation").get_paginator("describe_stack_events")
    found: dict[str, Retained] = {}
    for page in pages.paginate(StackName=stack_id):
        for event in page["StackEvents"]:
            if event["ResourceStatus"] == "DELETE_SKIPPED":
                one = Retained(
                    event["LogicalResourceId"], event["ResourceType"], event["PhysicalResourceId"]
                )
                found.setdefault(one.logical_id, one)
    return list(found.values())


def _exists(where: Target, one: Retained) -> bool:
    try:
        match one.kind:
            case "AWS::S3::Bucket":
                where.client("s3").head_bucket(Bucket=one.name)
            case "AWS::DynamoDB::Table":
                where.client("dynamodb").describe_table(TableName=one.name)
            case "AWS::Glue::Database":
                where.client("glue").get_database(Name=one.name)
            case _:
                return False
    except ClientError as error:
        if error.response["Error"]["Code"] not in _MISSING:
            raise
        return False
    return True


def import_template(template: Mapping[str, Any], adopted: tuple[Retained, ...]) -> dict[str, Any]:
    """Returns the template of a stack that has the adopted resources alone.

    Raises:
        AdoptionFailed: A resource refers to one that is not adopted.
    """
    resources = {one.logical_id: _declared(template, one) for one in adopted}
    for name, resource in resources.items():
        for other in _references(resource):
            if other not in resources and not other.startswith("AWS::"):
                raise AdoptionFailed(
                    f"{name} refers to {other}, which no longer exists: delete {name} too, or "
                    "deploy with ADOPT=no and another DatabasePrefix"
                )
    return {
        "AWSTemplateFormatVersion": template["AWSTemplateFormatVersion"],
        "Resources": resources,
    }


def _declared(template: Mapping[str, Any], one: Retained) -> dict[str, Any]:
    resource = dict(template["Resources"][one.logical_id])
    resource.pop("Metadata", None)
    if one.kind == "AWS::Glue::Database":  # its name comes from parameters that an import lacks
        properties = resource["Properties"]
        named = {**properties["DatabaseInput"], "Name": one.name}
        resource["Properties"] = {**properties, "DatabaseInput": named}
    return resource


def _references(value: Any) -> Iterator[str]:
    """Yields the names that a part of a template refers to."""
    if isinstance(value, list):
        for one in value:
            yield from _references(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key == "Ref":
                yield one
            elif key == "Fn::GetAtt":
                yield one[0]
            elif key == "Fn::Sub":
                yield from (part.split("}")[0] for part in one.split("${")[1:])
            else:
                yield from _references(one)


def adopt(where: Target, template: Mapping[str, Any], adopted: tuple[Retained, ...]) -> None:
    """Makes a stack of the retained resources.

    Raises:
        AdoptionFailed: CloudFormation refuses one of them.
    """
    client = where.client("cloudformation")
    change_set = {"StackName": where.stack, "ChangeSetName": _CHANGE_SET}
    try:
        client.create_change_set(
            **change_set,
            ChangeSetType="IMPORT",
            TemplateBody=json.dumps(import_template(template, adopted)),
            ResourcesToImport=[
                {
                    "ResourceType": one.kind,
                    "LogicalResourceId": one.logical_id,
                    "ResourceIdentifier": {_IDENTIFIERS[one.kind]: one.name},
                }
                for one in adopted
            ],
        )
        client.get_waiter("change_set_create_complete").wait(**change_set, WaiterConfig=_POLLS)
        client.execute_change_set(**change_set)
        client.get_waiter("stack_import_complete").wait(StackName=where.stack, WaiterConfig=_POLLS)
    except WaiterError as error:
        reason = error.last_response.get("StatusReason", error)
        raise AdoptionFailed(f"{reason}") from error


def main(arguments: list[str]) -> int:
    """Adopts what a deleted stack left, if the stack does not exist; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deployment.adopt")
    parser.add_argument("--config-env", required=True)
    options = parser.parse_args(arguments)
    try:
        _adopt_if_deleted(target(options.config_env))
    except (AdoptionFailed, BotoCoreError, ClientError) as error:
        sys.stderr.write(f"What a deleted stack left was not adopted: {error}\n")
        return 1
    return 0


def _adopt_if_deleted(where: Target) -> None:
    if is_deployed(where):
        return
    template = yaml_parse((ROOT / "template.yaml").read_text("utf-8"))
    adopted = tuple(one for one in retained(where) if one.logical_id in template["Resources"])
    if adopted:
        names = "".join(f"  {one.logical_id:16} {one.name}\n" for one in adopted)
        sys.stdout.write(f"The new stack gets what a deleted {where.stack} left:\n{names}")
        adopt(where, template, adopted)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
