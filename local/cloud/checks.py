"""What AWS checks for a request, and for a task of a state machine.

The actions are those of the Service Authorization Reference, which are not always the operations'
names. The resources are all that the service checks. What is not known is refused: a call that is
not recorded would need a right that no test sees.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import ministack.app
from ministack.core import iam_actions, router

from local.cloud.server import REGION

Json = dict[str, Any]

_ACCOUNT = "000000000000"


@dataclass(frozen=True)
class Check:
    """One decision of a service.

    Attributes:
        action: The action, as policies name it.
        resource: The resource's ARN.
        context: The condition keys of the service and their values.
    """

    action: str
    resource: str
    context: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A request as MiniStack dispatches it."""

    method: str
    path: str
    headers: Json
    body: bytes
    parameters: Json

    @property
    def service(self) -> str:
        """The service, as MiniStack names it."""
        return str(
            router.detect_service(self.method, self.path, self.headers, self._all_parameters)
        )

    @property
    def _all_parameters(self) -> Json:
        parameters: Json = ministack.app._routing_params(
            self.method, self.path, self.headers, self.body, self.parameters
        )
        return parameters

    def checks(self) -> Iterator[Check]:
        """Yields what the service checks before it answers.

        Raises:
            NotImplementedError: The request's action is not known.
        """
        whole = (self.method, self.path, self.headers, self.body, self._all_parameters)
        action = iam_actions.extract_iam_action(self.service, *whole)
        if action is None:
            raise NotImplementedError(f"{self.service}: no action is known for {self.path}")
        if self.service == "glue":
            yield from (Check(action, one) for one in _glue_resources(json.loads(self.body)))
            return
        resource = unquote(iam_actions.extract_resource_arn(self.service, *whole, REGION, _ACCOUNT))
        if self.service == "logs":
            resource += f":log-stream:{json.loads(self.body).get('logStreamName', '')}"
        if action == "s3:ListBucket":
            yield Check(action, resource, {"s3:prefix": self.parameters.get("prefix", [""])[0]})
            return
        yield Check(action, resource)
        if self.service == "s3":
            yield from self._further_s3_checks()

    def checks_of_answer(self, status: int) -> Iterator[Check]:
        """Yields what the service checks because of the answer that it has.

        Amazon S3 API Reference, "GetObject": a missing object is answered by 404 to who may list
        the bucket, and by 403 to others.
        """
        bucket, _, key = self.path.lstrip("/").partition("/")
        is_read = self.service == "s3" and key and self.method in {"GET", "HEAD"}
        if is_read and status == HTTPStatus.NOT_FOUND:
            yield Check("s3:ListBucket", f"arn:aws:s3:::{bucket}", {"s3:prefix": unquote(key)})

    def _further_s3_checks(self) -> Iterator[Check]:
        """Yields the checks of copies, of further keys, of tags and of access control lists.

        Amazon S3 API Reference, "PutObject", "CopyObject", "DeleteObjects": Permissions.
        """
        whole = (self.method, self.path, self.headers, self.body, self.parameters)
        for action, resource in iam_actions.s3_additional_checks(*whole):
            yield Check(action, unquote(resource))
        written = f"arn:aws:s3:::{unquote(self.path.lstrip('/'))}"
        if "x-amz-tagging" in self.headers:
            yield Check("s3:PutObjectTagging", written)
        if "x-amz-acl" in self.headers:
            yield Check("s3:PutObjectAcl", written)


def checks_of_task(resource: str, arguments: Json) -> Iterator[Check]:
    """Yields what AWS checks for a task of a state machine.

    Args:
        resource: The task's integration.
        arguments: The task's arguments.

    Raises:
        NotImplementedError: The calls of the integration are not known.
    """
    match resource.rpartition(":::")[2]:
        case "lambda:invoke":
            yield Check("lambda:InvokeFunction", arguments["FunctionName"])
        case "sns:publish":
            yield Check("sns:Publish", arguments["TopicArn"])
        case "dynamodb:updateItem":
            yield Check("dynamodb:UpdateItem", _arn("dynamodb", f"table/{arguments['TableName']}"))
        case "glue:startJobRun.sync":
            for action in ("glue:StartJobRun", "glue:GetJobRun"):
                yield Check(action, _arn("glue", f"job/{arguments['JobName']}"))
        case _:
            raise NotImplementedError(f"the calls of {resource} are not known")


def _glue_resources(data: Json) -> Iterator[str]:
    """Yields the catalogue, the database and the tables that a request is about.

    AWS Glue Developer Guide, "Specifying AWS Glue resource ARNs".
    """
    yield _arn("glue", "catalog")
    database = data.get("DatabaseName")
    if database is None:
        yield _arn("glue", f"database/{data['Name']}")
        return
    yield _arn("glue", f"database/{database}")
    table = data.get("TableName") or data.get("Name") or data.get("TableInput", {}).get("Name")
    yield _arn("glue", f"table/{database}/{table or '*'}")


def _arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{_ACCOUNT}:{resource}"
