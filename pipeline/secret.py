"""The one reader of a database secret, for psycopg, DuckDB and pg8000.

A secret is JSON in the form that Amazon RDS writes (AWS Secrets Manager User Guide, "JSON
structure of AWS Secrets Manager secrets"). A secret that RDS manages itself has a username and a
password only; the stack's settings have the rest. Further fields are keywords of libpq.

No message, log or traceback shows the password. Only a Login holds it, outside its `repr`, and a
driver's traceback, whose frames hold it too, ends where the Login is used.
"""

import atexit
import functools
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from pipeline.aws_errors import code_of, translated_aws_errors
from pipeline.errors import InvalidSettings
from pipeline.settings import PORTS, SSL_MODES, DatabaseSettings

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_KEYWORDS = {"username": "user"}
_NOT_FOR_LIBPQ = ("engine", "dbInstanceIdentifier", "dbClusterIdentifier", "masterarn")
_PLACES = ("host", "hostaddr", "service")
_PLACE = re.compile(r"/.*|@?[^\s@=?]+", re.DOTALL)
"""A socket's folder, a host or an address: no URL or connection string that has a password."""
_PEM = "-----BEGIN CERTIFICATE-----"
_RDS_CA = Path(__file__).with_name("rds_ca.pem")
"""The certificate authorities of Amazon RDS and RDS Proxy: docs/dependencies.md."""


@dataclass(frozen=True)
class Login:
    """Where a database is, and who connects.

    Attributes:
        keywords: libpq's keywords, without the password.
        password: The password; None if there is none.
    """

    keywords: Mapping[str, str] = field(repr=False)
    password: str | None = field(repr=False)

    @property
    def host(self) -> str:
        """The server's name, its address, or the folder of its unix socket."""
        return self.keywords.get("host") or self.keywords["hostaddr"]


def read_login(name: str, settings: DatabaseSettings, client: "SecretsManagerClient") -> Login:
    """Reads a database's secret.

    Args:
        name: Which database it is, for messages.
        settings: What the stack says about the database.
        client: The client of AWS Secrets Manager.

    Raises:
        InvalidSettings: There is no such secret, or it is malformed.
        AccessRefused: The function may not read or decrypt the secret.
        ObjectStoreUnavailable: AWS Secrets Manager did not answer.
    """
    login = _login(_secret(name, settings.secret_arn, client), settings)
    if isinstance(login, str):
        raise malformed_secret(name, settings.secret_arn, login)
    return login


def malformed_secret(name: str, arn: str, reason: str) -> InvalidSettings:
    """Returns the error of a secret that cannot be used; its content stays unsaid."""
    return InvalidSettings(
        f"the secret of the {name} database is not JSON with host, port, username, password and "
        f"dbname ({reason}): correct {arn}"
    )


def _secret(name: str, arn: str, client: "SecretsManagerClient") -> str:
    with translated_aws_errors(f"read the secret of the {name} database"):
        try:
            return client.get_secret_value(SecretId=arn).get("SecretString", "")
        except ClientError as error:
            if code_of(error) == "ResourceNotFoundException":
                raise InvalidSettings(
                    f"there is no secret {arn} for the {name} database: give the stack the ARN of "
                    "one that exists"
                ) from error
            raise


def _login(text: str, settings: DatabaseSettings) -> Login | str:
    """Returns what a secret says, or why it cannot be used: no frame of an error has its text."""
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return "it is no JSON object"
    given: dict[str, str] = {
        _KEYWORDS.get(str(name), str(name)): value if isinstance(value, str) else json.dumps(value)
        for name, value in document.items()
        if name not in _NOT_FOR_LIBPQ and value not in (None, "")
    }
    password = given.pop("password", None)
    keywords = {"sslmode": settings.ssl_mode, **_address(settings, given), **given}
    return _refusal(keywords, password) or Login(_with_authorities(keywords), password)


def _address(settings: DatabaseSettings, given: dict[str, str]) -> dict[str, str]:
    """Returns what the stack says of an address. A service of libpq has one of its own."""
    if "service" in given:
        return {}
    address = {"host": settings.host, "port": str(settings.port), "dbname": settings.name}
    return {name: value for name, value in address.items() if value}


def _refusal(keywords: dict[str, str], password: str | None) -> str:
    """Returns why keywords cannot be used; empty if they can."""
    places = [keywords[name] for name in _PLACES if keywords.get(name)]
    port = keywords.get("port", "5432")
    reasons = {
        "it holds a null character": any(
            "\0" in value for value in (*keywords.values(), password or "")
        ),
        "it names no host, and no parameter of the stack does": not places,
        "its host is no host name": not all(_PLACE.fullmatch(place) for place in places),
        "its port is no port": not port.isdecimal() or int(port) not in PORTS,
        "it has no username": "user" not in keywords,
        f"its sslmode is none of {', '.join(SSL_MODES)}": keywords["sslmode"] not in SSL_MODES,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _with_authorities(keywords: dict[str, str]) -> dict[str, str]:
    """Returns the keywords with a file of certificate authorities where one is needed.

    `sslrootcert` may be the certificates themselves, since a function has no file of another's.
    """
    given = keywords.get("sslrootcert", "")
    if _PEM in given:
        return keywords | {"sslrootcert": str(_file_of(given))}
    if not given and keywords["sslmode"].startswith("verify-"):
        return keywords | {"sslrootcert": str(_RDS_CA)}
    return keywords


def _file_of(certificates: str) -> Path:
    content = certificates.encode()
    file = _folder_of_this_process() / f"{hashlib.sha256(content).hexdigest()}.pem"
    if not file.exists():
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as unfinished:
            unfinished.write(content)
        Path(unfinished.name).replace(file)
    return file


@functools.cache
def _folder_of_this_process() -> Path:
    """Returns a folder that no other user can write to, or make before this process does."""
    folder = Path(tempfile.mkdtemp(prefix="totesys-ca-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
