"""Each AWS operation that the code calls is one that its role was seen to call.

The end-to-end suite records what it brings about. This test reads the code: a call that no test
brings about needs a grant all the same.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest
from botocore import xform_name
from botocore.session import get_session

from local.deployment import ROOT
from tests.rights.aws_calls import AWS_CALLS
from tests.rights.replay import RECORDED, calls_of

ROLES = {
    "lambdas/ingest": {"IngestRole"},
    "lambdas/load": {"LoadRole"},
    "lambdas/publish": {"PublishRole"},
    "lambdas/glue_code": {"GlueCodeRole"},
    "glue_jobs": {"BuildStarRole", "BuildDimensionsRole", "BuildFactsRole", "MaintainTablesRole"},
    "pipeline": {"IngestRole", "LoadRole", "PublishRole", "GlueCodeRole", "BuildFactsRole"},
}
"""Whose code a folder has."""
SERVICES = {
    "s3": "s3",
    "glue": "glue",
    "logs": "logs",
    "secretsmanager": "secretsmanager",
    "lambda": "lambda",
    "stepfunctions": "states",
}
"""The services that the code has clients of, with the prefix of their actions."""
S3_ACTIONS = {
    "HeadObject": "GetObject",
    "ListObjectsV2": "ListBucket",
    "DeleteObjects": "DeleteObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
}
"""Operations of Amazon S3 whose action has another name (Service Authorization Reference)."""
WITHOUT_A_ROLE = {
    # Called by `python -m lambdas.ingest.orphans` alone, with a person's credentials.
    ("pipeline/object_store.py", "delete_objects"),
    # The socket module's.
    ("lambdas/publish/warehouse.py", "create_connection"),
}


@cache
def actions() -> dict[str, set[str]]:
    """Returns the actions of each client method; services may share a method's name."""
    found: dict[str, set[str]] = {}
    for service, prefix in SERVICES.items():
        for operation in get_session().get_service_model(service).operation_names:
            action = S3_ACTIONS.get(operation, operation) if service == "s3" else operation
            found.setdefault(xform_name(operation), set()).add(f"{prefix}:{action}")
    return found


def called(source: str) -> Iterator[str]:
    """Yields the methods that code calls, and the operations that it pages through."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr
            if node.func.attr in {"get_paginator", "get_waiter"}:
                yield from (str(one.value) for one in node.args if isinstance(one, ast.Constant))
        elif isinstance(node, ast.Attribute):
            yield node.attr


def methods_of(folder: str) -> dict[tuple[str, str], set[str]]:
    """Returns the actions of each client method that a folder's files call, by file and method."""
    return {
        (path.relative_to(ROOT).as_posix(), method): actions()[method]
        for path in sorted((ROOT / folder).rglob("*.py"))
        for method in called(path.read_text())
        if method in actions()
    }


@pytest.mark.parametrize("folder", ROLES)
def test_each_operation_that_the_code_calls_was_seen(folder: str) -> None:
    calls = [*calls_of(RECORDED), *AWS_CALLS]
    seen = {call.action for call in calls if call.role in ROLES[folder]}
    methods = methods_of(folder)

    unseen = {one for one, named in methods.items() if not named & seen} - WITHOUT_A_ROLE

    assert not unseen, f"grant what {sorted(ROLES[folder])} lack, and run `make record-calls`"


def test_calls_by_method_and_by_paginator_are_found() -> None:
    source = 'c.get_object(Key="k"); c.get_paginator("list_object_versions"); f = c.create_table'

    assert {"get_object", "list_object_versions", "create_table"} <= set(called(source))


def test_every_service_that_the_code_has_clients_of_is_known() -> None:
    files = [path for folder in ROLES for path in (ROOT / folder).rglob("*.py")]
    code = "".join(path.read_text() for path in files)

    assert set(re.findall(r'\bclient\("([\w-]+)"', code)) == SERVICES.keys()


def test_operations_of_every_service_are_found() -> None:
    found = [
        action for folder in ROLES for named in methods_of(folder).values() for action in named
    ]

    assert {action.partition(":")[0] for action in found} == set(SERVICES.values())
