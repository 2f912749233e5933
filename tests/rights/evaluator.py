"""Judges requests by AWS's evaluation logic: the npm package @cloud-copilot/iam-simulate.

The package is a program beside the tests, and no part of what is deployed.
"""

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from local.npm_packages import NODE, installed
from tests.rights.deployed import ACCOUNT, Policy

ALLOWED: Final = "Allowed"
_PROGRAM = Path(__file__).with_name("simulate.mjs")


@dataclass(frozen=True)
class Request:
    """A request, with the policies that judge it.

    Attributes:
        principal: The ARN of a role's session, or a service.
        action: The action.
        resource: The resource's ARN.
        context: The values of condition keys.
        identity_policies: The policies of the role; none of a service.
        resource_policy: The policy of the resource, if it has one.
    """

    principal: str
    action: str
    resource: str
    context: dict[str, str] = field(default_factory=dict)
    identity_policies: list[Policy] = field(default_factory=list)
    resource_policy: Policy | None = None


def decisions(requests: Iterable[Request]) -> list[str]:
    """Returns for each request Allowed, ImplicitlyDenied or ExplicitlyDenied.

    Raises:
        RuntimeError: A policy or a request is invalid.
        subprocess.CalledProcessError: The evaluator cannot be installed.
    """
    numbers: dict[str, int] = {}
    sent = [
        {
            "principal": request.principal,
            "action": request.action,
            "resource": request.resource,
            "context": request.context,
            "identityPolicies": _number(numbers, request.identity_policies),
            "resourcePolicy": _number(numbers, request.resource_policy),
        }
        for request in requests
    ]
    policies = [json.loads(text) for text in numbers]
    done = subprocess.run(
        [NODE, _PROGRAM, installed() / "package.json"],
        input=json.dumps({"account": ACCOUNT, "policies": policies, "requests": sent}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return list(json.loads(done.stdout))


def _number(numbers: dict[str, int], policies: list[Policy] | Policy | None) -> int:
    """Returns the position at which the program finds policies that many requests share."""
    return numbers.setdefault(json.dumps(policies), len(numbers))
