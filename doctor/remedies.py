"""What makes a call of AWS possible that was refused."""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from pipeline.aws_errors import code_of

_NO_CREDENTIALS = (
    NoCredentialsError,
    CredentialRetrievalError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
_REFUSED = ("AccessDenied", "UnauthorizedOperation", "Forbidden", "403")
_INVALID = (
    "ExpiredToken",
    "RequestExpired",
    "InvalidClientTokenId",
    "UnrecognizedClient",
    "SignatureDoesNotMatch",
    "AuthFailure",
    "InvalidAccessKeyId",
)
# The AWS CLI reads AWS_REGION too; the SDK for Python, and with it AWS SAM, does not.
SET_REGION = "export AWS_DEFAULT_REGION=…   # the stack's; or `region` in samconfig.toml"
LOG_IN = "aws sso login   # or `aws configure`; with a profile, AWS_PROFILE=…"


def remedies(error: ClientError | BotoCoreError) -> tuple[str, ...]:
    """Returns what makes a refused call of AWS possible; nothing if only another attempt does."""
    if isinstance(error, NoRegionError):
        return (SET_REGION,)
    if isinstance(error, _NO_CREDENTIALS):
        return (LOG_IN,)
    if not isinstance(error, ClientError):
        return ()
    if code_of(error).startswith(_INVALID):
        return (LOG_IN,)
    if code_of(error).startswith(_REFUSED):
        return (f"allow your own identity the call {error.operation_name}",)
    return ()
