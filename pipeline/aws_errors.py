"""Errors of AWS in the pipeline's terms, for every service that the pipeline calls."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.errors import AccessRefused, ObjectStoreUnavailable

_FORBIDDEN = 403
# Also answered with 403, but the next call signs with other credentials or at another time.
_PASSING = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestTimeTooSkewed"}
)


def code_of(error: ClientError) -> str:
    """Returns the code of an AWS error, such as `NoSuchKey`; empty if the answer had none."""
    return error.response.get("Error", {}).get("Code", "")


@contextmanager
def translated_aws_errors(doing: str) -> Iterator[None]:
    """Translates errors of the AWS SDK.

    Args:
        doing: What the block does, as it follows `could not`: `read s3://bucket/key`.

    Raises:
        AccessRefused: A policy, or the policy of a KMS key, does not allow the call.
        ObjectStoreUnavailable: The service did not answer, or answered with any other error.
    """
    try:
        yield
    except ClientError as error:
        kind = AccessRefused if _is_refusal(error) else ObjectStoreUnavailable
        raise kind(_message(doing, error, is_refused=kind is AccessRefused)) from error
    except BotoCoreError as error:
        raise ObjectStoreUnavailable(_message(doing, error, is_refused=False)) from error


def _is_refusal(error: ClientError) -> bool:
    code = code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return code.startswith("AccessDenied") or (status == _FORBIDDEN and code not in _PASSING)


def _message(doing: str, error: Exception, *, is_refused: bool) -> str:
    advice = "; grant the function's role this right, or redeploy the stack" if is_refused else ""
    return f"could not {doing}: {error}{advice}"
