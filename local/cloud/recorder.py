"""Records which role of the stack calls which action on which resource.

The access keys of functions and jobs name their roles (local/cloud/roles.py), and a state machine's
tasks are recorded where MiniStack runs them. A call is recorded once, as a line of JSON in the file
that RECORDED_CALLS names, with names of the template in place of physical names.
"""

import os
import re
from collections.abc import Iterable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import ministack.app
from ministack.core import router
from ministack.services import cloudformation, stepfunctions

from local.cloud.calls import RECORDED_CALLS, Call
from local.cloud.checks import Check, Json, Request, checks_of_task

_NUMBERS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16,}|[0-9]+")
_NAME = re.compile(r"(\$\{[^}]+\})")
_NAMED = (
    "AWS::DynamoDB::Table",
    "AWS::Glue::Database",
    "AWS::Glue::Job",
    "AWS::Lambda::Function",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::SNS::Topic",
)
_ROLE: ContextVar[str] = ContextVar("role")
"""The physical name of the role whose state machine runs a task in this context."""


def patch() -> None:
    """Records the calls of the stack's roles if a file is named."""
    if file := os.environ.get(RECORDED_CALLS):
        recorder = Recorder(Path(file))
        _record_requests(recorder)
        _record_tasks(recorder)


class Recorder:
    """Writes each distinct call of the stack's roles to a file.

    Args:
        file: The file. Local clouds that run side by side append to it.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._written: set[Call] = set()

    def record(self, role: str, checks: Iterable[Check]) -> None:
        """Records what a call is checked for, if the role is the stack's.

        Args:
            role: The physical name of the role.
            checks: What the call is checked for.
        """
        name = _roles().get(role)
        if name is None:
            return
        names = _names()
        for check in checks:
            context = tuple((key, _zeros(value)) for key, value in check.context.items())
            call = Call(name, check.action, _general(check.resource, names), context)
            if call not in self._written:
                self._written.add(call)
                with self._file.open("a", encoding="utf-8") as file:
                    file.write(call.as_line())


def _record_requests(recorder: Recorder) -> None:
    """Records what functions and jobs call."""
    dispatch = ministack.app._dispatch_service_request

    async def dispatch_service_request(
        method: str, path: str, headers: Json, body: bytes, parameters: Json, *rest: Any
    ) -> Any:
        request = Request(method, path, headers, body, parameters)
        role = router.extract_access_key_id(headers, parameters)
        recorder.record(role, request.checks())
        answer = await dispatch(method, path, headers, body, parameters, *rest)
        recorder.record(role, request.checks_of_answer(answer[0]))
        return answer

    ministack.app._dispatch_service_request = dispatch_service_request


def _record_tasks(recorder: Recorder) -> None:
    """Records what the state machines call."""
    run_task, invoke = stepfunctions._execute_task, stepfunctions._invoke_resource

    def execute_task(state: Json, value: Any, execution: Json, context: Json) -> Any:
        machine = stepfunctions._state_machines.get(execution["stateMachineArn"], {})
        token = _ROLE.set(machine.get("roleArn", "").rpartition("/")[2])
        try:
            return run_task(state, value, execution, context)
        finally:
            _ROLE.reset(token)

    def invoke_resource(resource: str, data: Any) -> Any:
        recorder.record(_ROLE.get(), checks_of_task(resource, data))
        return invoke(resource, data)

    stepfunctions._execute_task = execute_task
    stepfunctions._invoke_resource = invoke_resource


def _roles() -> dict[str, str]:
    """Returns the names in the template of all stacks' roles, by their physical names."""
    return {
        resource["PhysicalResourceId"]: name
        for stack in list(cloudformation._stacks.values())
        for name, resource in list(stack["_resources"].items())
        if resource["ResourceType"] == "AWS::IAM::Role"
    }


def _names() -> list[tuple[str, str]]:
    """Returns physical names and the names of the template that stand for them, longest first."""
    found = []
    for stack in list(cloudformation._stacks.values()):
        found += [
            (resource["PhysicalResourceId"], name)
            for name, resource in list(stack["_resources"].items())
            if resource["ResourceType"] in _NAMED
        ]
        parameters = stack["_resolved_params"].items()
        secrets = [(one["Value"], name) for name, one in parameters if name.endswith("SecretArn")]
        found += [(arn, name) for arn, name in secrets if arn]
    return sorted(found, key=lambda pair: -len(pair[0]))


def _general(resource: str, names: list[tuple[str, str]]) -> str:
    """Returns an ARN with names of the template, and with zeros for numbers and identifiers."""
    for physical, name in names:
        resource = resource.replace(physical, f"${{{name}}}")
    if not resource.startswith("arn:"):
        return _zeros(resource)
    _, _, service, region, account, rest = resource.split(":", 5)
    region, account = region and "${AWS::Region}", account and "${AWS::AccountId}"
    return ":".join(("arn", "${AWS::Partition}", service, region, account, _zeros(rest)))


def _zeros(text: str) -> str:
    return "".join(
        part if _NAME.match(part) else _NUMBERS.sub("0", part) for part in _NAME.split(text)
    )
