"""The state machine receives an exception's class name, as on AWS.

AWS Lambda Developer Guide, "Lambda function errors in Python": `errorType` is the class's name.
MiniStack reports each error of a handler as Runtime.HandlerError; its reply has the traceback.
"""

import re
from typing import Any

from ministack.services import lambda_svc

_ERROR_LINE = re.compile(r"^(?:[\w]+\.)*([A-Z]\w+)(?::|$)", re.MULTILINE)


def patch() -> None:
    """Replaces MiniStack's invocation of a warm worker by one that reports the class name."""
    invoke = lambda_svc._execute_function_warm

    def execute(func: dict[str, Any], event: dict[str, Any], request_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = invoke(func, event, request_id)
        body = answer.get("body")
        if answer.get("error") and isinstance(body, dict):
            # Frames are indented. The first line that is not indented has the class name.
            line = _ERROR_LINE.search(answer.get("log", "").rpartition("Traceback")[2])
            if body.get("errorType") == "Runtime.HandlerError" and line:
                body["errorType"] = line.group(1)
        return answer

    lambda_svc._execute_function_warm = execute
