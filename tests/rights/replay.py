"""Recorded calls, and what they imply, as requests to the policies of the deployed template."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from local.cloud.calls import Call
from tests.rights.deployed import ACCOUNT, REGION, DeployedTemplate, Policy
from tests.rights.evaluator import ALLOWED, Request, decisions

RECORDED: Final = Path(__file__).with_name("calls.jsonl")
"""The distinct calls of the end-to-end suite: `make record-calls` writes it."""

_FIRST_NAME = re.compile(r"\$\{(\w+)[}.]")
_KEYS_OF_SECRETS = {
    "SourceSecretArn": "SourceKmsKeyArn",
    "WarehouseSecretArn": "WarehouseKmsKeyArn",
}
_DEFAULT_KEY_POLICY: Policy = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
            "Action": "kms:*",
            "Resource": "*",
        }
    ],
}
"""AWS KMS Developer Guide, "Default key policy"."""


def calls_of(file: Path) -> list[Call]:
    """Returns the distinct calls of a file, sorted."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return sorted({Call.from_line(line) for line in lines}, key=lambda call: call.as_line())


def with_implied(calls: list[Call], template: DeployedTemplate) -> list[Call]:
    """Returns calls, and the calls to AWS KMS that services make for them."""
    return calls + [one for call in calls for one in _to_kms(call, template)]


def _to_kms(call: Call, template: DeployedTemplate) -> Iterator[Call]:
    name = named(call)
    if call.action == "sns:Publish":
        # SNS Developer Guide, "Configure AWS KMS permissions"
        for action in ("kms:GenerateDataKey", "kms:Decrypt"):
            yield Call(call.role, action, "${NotificationKey.Arn}")
    key = _KEYS_OF_SECRETS.get(name)
    if key and template.arn(f"${{{key}}}"):
        # Secrets Manager User Guide, "Secret encryption and decryption"
        via = (("kms:ViaService", f"secretsmanager.{REGION}.amazonaws.com"),)
        yield Call(call.role, "kms:Decrypt", f"${{{key}}}", via)


def named(call: Call) -> str:
    """Returns the name in the template of what a call is about; empty if it has none."""
    found = _FIRST_NAME.search(call.resource)
    return found.group(1) if found else ""


def use(call: Call) -> tuple[str, str, str]:
    """Returns what a call makes use of: a role's action on a resource of the template."""
    return call.role, call.action, named(call)


def request_of(
    call: Call, template: DeployedTemplate, policies: list[Policy] | None = None
) -> Request:
    """Returns the request that a call is.

    Args:
        call: The call.
        template: The deployed template.
        policies: Other policies of the role than the template's.
    """
    policy = template.resource_policies.get(named(call))
    if named(call) in _KEYS_OF_SECRETS.values():
        policy = _DEFAULT_KEY_POLICY
    return Request(
        principal=f"arn:aws:sts::{ACCOUNT}:assumed-role/{call.role}/session",
        action=call.action,
        resource=template.arn(call.resource),
        context={
            "aws:SecureTransport": "true",
            **{key: template.arn(value) for key, value in call.context},
        },
        identity_policies=template.role_policies[call.role] if policies is None else policies,
        resource_policy=policy,
    )


def denials(calls: list[Call], template: DeployedTemplate) -> list[str]:
    """Returns for each call that is not allowed what the role lacks, in words."""
    every = with_implied(calls, template)
    judged = decisions(request_of(call, template) for call in every)
    return [
        f"{call.role} may not {call.action} on {call.resource}"
        f"{f' with {dict(call.context)}' if call.context else ''}: {decision}. "
        f"Grant the action to {call.role} in template.yaml, or do not call it"
        for call, decision in zip(every, judged, strict=True)
        if decision != ALLOWED
    ]
