"""Each grant of the template's roles, and whether some call needs it."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

from local.cloud.calls import Call
from tests.rights.deployed import DeployedTemplate, Policy
from tests.rights.evaluator import ALLOWED, decisions
from tests.rights.replay import request_of, with_implied


@dataclass(frozen=True)
class Grant:
    """An action, or a resource, that a statement of a role allows.

    Attributes:
        role: The role.
        policy: The policy's place among the role's policies.
        statement: The statement's place in the policy.
        element: Action or Resource.
        value: The action or the resource.
    """

    role: str
    policy: int
    statement: int
    element: str
    value: str

    def taken_from(self, policies: list[Policy]) -> list[Policy]:
        """Returns the role's policies without the grant."""
        policies = copy.deepcopy(policies)
        statements = policies[self.policy]["Statement"]
        left = [
            one for one in _values(statements[self.statement], self.element) if one != self.value
        ]
        if left:
            statements[self.statement][self.element] = left
        else:
            del statements[self.statement]
        return policies


def grants(template: DeployedTemplate) -> Iterator[Grant]:
    """Yields each action and each resource of each statement of each role."""
    for role, policies in template.role_policies.items():
        for policy, document in enumerate(policies):
            for number, statement in enumerate(document["Statement"]):
                for element in ("Action", "Resource"):
                    for value in _values(statement, element):
                        yield Grant(role, policy, number, element, value)


def unused(calls: list[Call], template: DeployedTemplate) -> list[Grant]:
    """Returns the grants without which every call is allowed all the same."""
    every = with_implied(calls, template)
    tried = []
    for grant in grants(template):
        policies = template.role_policies[grant.role]
        statement = policies[grant.policy]["Statement"][grant.statement]
        actions = _values(statement, "Action") if grant.element == "Resource" else [grant.value]
        tried += [
            (grant, request_of(call, template, grant.taken_from(policies)))
            for call in every
            if call.role == grant.role and call.action in actions
        ]
    judged = decisions(request for _, request in tried)
    needed = {grant for (grant, _), one in zip(tried, judged, strict=True) if one != ALLOWED}
    return [grant for grant in grants(template) if grant not in needed]


def _values(statement: Policy, element: str) -> list[str]:
    value = statement[element]
    return value if isinstance(value, list) else [value]
