"""Functions and jobs call AWS with the credentials of their roles, as on AWS.

MiniStack gives every function the same credentials. Here the access key is the role's name, so that
each request tells who calls.
"""

from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc


def patch() -> None:
    """Replaces the credentials that MiniStack gives to functions."""
    for module in (lambda_runtime, lambda_svc):
        module.execution_credentials = _function_credentials


def role_credentials(role: str) -> dict[str, str]:
    """Returns the environment variables with the credentials of a role.

    Args:
        role: The role's ARN or name.
    """
    return {
        "AWS_ACCESS_KEY_ID": role.rpartition("/")[2],
        "AWS_SECRET_ACCESS_KEY": "test",  # the emulator takes any  # nosec B105
        "AWS_SESSION_TOKEN": "",
    }


def _function_credentials(function: dict[str, Any]) -> dict[str, str]:
    return role_credentials(function["Role"])
