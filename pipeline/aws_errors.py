"""Errors of AWS in the pipeline's terms, for every service that the pipeline calls."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.errors import AccessRefused, ObjectArchived, ObjectStoreUnavailable, PipelineError

_FORBIDDEN = 403
# Also answered with 403, but the next call signs with other credentials or at another time.
_PASSING = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestTimeTooSkewed"}
)
_ADVICE: dict[type[PipelineError], str] = {
    AccessRefused: "; grant the function's role this right, or redeploy the stack",
    ObjectArchived: "; restore the object from the archive, copy it over itself in the storage "
    "class STANDARD, and end the lifecycle rule that archives it",
}


def code_of(error: ClientError) -> str:
    """Returns the code of an AWS error, such as `NoSuchKey`; empty if the answer had none."""
    return error.response.get("Error", {}).get("Code", "")


@contextmanager
def translated_aws_errors(doing: str) -> Iterator[None]:
    """Translates errors of the AWS SDK.

    Args:
        doing: What the block does, as it follows `could not`: `read s3://bucket/key`.

    Raises:
        ObjectArchived: The object is in an archive (Amazon S3 User Guide, "Working with archived
            objects").
        AccessRefused: A policy, or the policy of a KMS key, does not allow the call.
        ObjectStoreUnavailable: The service did not answer, or answered with any other error.
    """
    try:
        yield
    except ClientError as error:
        kind = _kind(error)
        raise kind(f"could not {doing}: {error}{_ADVICE.get(kind, '')}") from error
    except BotoCoreError as error:
        raise ObjectStoreUnavailable(f"could not {doing}: {error}") from error


def _kind(error: ClientError) -> type[PipelineError]:
    # Answered with 403, as a refusal is.
    if code_of(error) == "InvalidObjectState":
        return ObjectArchived
    return AccessRefused if _is_refusal(error) else ObjectStoreUnavailable


def _is_refusal(error: ClientError) -> bool:
    code = code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return code.startswith("AccessDenied") or (status == _FORBIDDEN and code not in _PASSING)
