"""A database's secret: its forms, and what is said of one that cannot be used."""

import json
import ssl
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.stub import Stubber

from pipeline import secret
from pipeline.errors import AccessRefused, InvalidSettings
from pipeline.secret import Login, read_login
from pipeline.settings import DatabaseSettings

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

PASSWORD = "correct horse"
SECRET = {"host": "db.example", "port": 5433, "username": "reader", "dbname": "totesys"}


@pytest.fixture
def secrets(moto_aws: None) -> "SecretsManagerClient":
    return boto3.client("secretsmanager")


def login_of(
    secrets: "SecretsManagerClient", secret: object, settings: DatabaseSettings | None = None
) -> Login:
    text = secret if isinstance(secret, str) else json.dumps(secret)
    arn = secrets.create_secret(Name="source", SecretString=text)["ARN"]
    return read_login("source", settings or DatabaseSettings(arn, "require"), secrets)


def test_a_secret_of_rds_is_an_address_and_who_connects(secrets: "SecretsManagerClient") -> None:
    login = login_of(
        secrets, {**SECRET, "password": PASSWORD, "engine": "postgres", "masterarn": "arn:x"}
    )

    assert login.keywords == {
        "host": "db.example",
        "port": "5433",
        "user": "reader",
        "dbname": "totesys",
        "sslmode": "require",
    }
    assert login.password == PASSWORD


def test_the_stack_says_what_a_secret_that_rds_manages_leaves_out(
    secrets: "SecretsManagerClient",
) -> None:
    settings = DatabaseSettings("source", "require", "db.example", 5433, "totesys")

    login = login_of(secrets, {"username": "reader", "password": PASSWORD}, settings)

    assert login == login_of_full(PASSWORD)


def test_the_secret_takes_precedence_over_the_stack(secrets: "SecretsManagerClient") -> None:
    settings = DatabaseSettings("source", "verify-full", "other.example", 1, "other")

    login = login_of(secrets, {**SECRET, "sslmode": "require"}, settings)

    assert login == login_of_full(None)


def login_of_full(password: str | None) -> Login:
    return Login(
        {
            "host": "db.example",
            "port": "5433",
            "user": "reader",
            "dbname": "totesys",
            "sslmode": "require",
        },
        password,
    )


def test_a_service_of_libpq_has_an_address_of_its_own(secrets: "SecretsManagerClient") -> None:
    login = login_of(secrets, {"service": "totesys", "username": "reader"})

    assert login.keywords == {"service": "totesys", "user": "reader", "sslmode": "require"}


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_certificates_are_verified_against_amazons_authorities_unless_the_secret_names_others(
    secrets: "SecretsManagerClient", mode: str
) -> None:
    login = login_of(secrets, {**SECRET, "sslmode": mode})

    context = ssl.create_default_context(cafile=login.keywords["sslrootcert"])
    subjects = str([ca["subject"] for ca in context.get_ca_certs()])
    assert "Amazon RDS eu-west-2 Root CA RSA2048 G1" in subjects
    assert "Amazon Root CA 1" in subjects


def test_a_secret_may_hold_the_certificate_authorities_themselves(
    secrets: "SecretsManagerClient", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    certificates = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

    login = login_of(secrets, {**SECRET, "sslmode": "require", "sslrootcert": certificates})

    assert Path(login.keywords["sslrootcert"]).read_text() == certificates


def test_authorities_that_another_process_left_are_not_trusted(
    secrets: "SecretsManagerClient", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    secret._folder_of_this_process.cache_clear()
    certificates = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    login_of(secrets, {**SECRET, "sslmode": "require", "sslrootcert": certificates})
    for left in filter(Path.is_file, tmp_path.rglob("*")):
        left.write_text("-----BEGIN CERTIFICATE-----\nof another\n-----END CERTIFICATE-----\n")

    secret._folder_of_this_process.cache_clear()
    login = read_login("source", DatabaseSettings("source", "require"), secrets)

    assert Path(login.keywords["sslrootcert"]).read_text() == certificates


@pytest.mark.parametrize("place", ["system", "/opt/ca.pem"])
def test_a_named_file_of_authorities_stays_as_it_is(
    secrets: "SecretsManagerClient", place: str
) -> None:
    assert login_of(secrets, {**SECRET, "sslrootcert": place}).keywords["sslrootcert"] == place


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (f"postgresql://reader:{PASSWORD}@db.example/totesys", "no JSON object"),
        (f'"{PASSWORD}"', "no JSON object"),
        (json.dumps([PASSWORD]), "no JSON object"),
        (f'{{"password": "{PASSWORD}"', "no JSON object"),
        ({"username": "reader", "password": PASSWORD}, "names no host"),
        ({**SECRET, "host": None, "password": PASSWORD}, "names no host"),
        ({**SECRET, "host": f"postgresql://u:{PASSWORD}@h/d", "password": PASSWORD}, "no host"),
        ({**SECRET, "host": f"host=h password='{PASSWORD}'", "password": PASSWORD}, "no host"),
        ({**SECRET, "host": {"password": PASSWORD}, "password": PASSWORD}, "no host"),
        ({**SECRET, "port": PASSWORD, "password": PASSWORD}, "its port"),
        ({**SECRET, "port": 0, "password": PASSWORD}, "its port"),
        ({**SECRET, "username": "", "password": PASSWORD}, "no username"),
        ({**SECRET, "sslmode": PASSWORD, "password": PASSWORD}, "its sslmode"),
        ({**SECRET, "password": f"{PASSWORD}\0"}, "null character"),
    ],
)
def test_a_malformed_secret_is_refused_without_its_password(
    secrets: "SecretsManagerClient", secret: object, reason: str
) -> None:
    with pytest.raises(InvalidSettings, match=reason) as refused:
        login_of(secrets, secret)

    frames = traceback.TracebackException.from_exception(refused.value, capture_locals=True)
    ours = [frame for frame in frames.stack if not frame.filename.startswith(str(Path(__file__)))]
    assert PASSWORD not in "".join(traceback.format_list(ours))
    assert PASSWORD not in "".join(frames.format_exception_only())
    assert refused.value.__cause__ is None


def test_a_login_shows_no_password() -> None:
    assert PASSWORD not in repr(login_of_full(PASSWORD))


def test_a_secret_that_may_not_be_read_or_decrypted_is_a_refused_right(
    unreachable_secrets: "SecretsManagerClient",
) -> None:
    with Stubber(unreachable_secrets) as stub:
        stub.add_client_error("get_secret_value", "AccessDeniedException", "no kms:Decrypt")

        with pytest.raises(AccessRefused, match=r"secret of the source database: .*kms:Decrypt"):
            read_login("source", DatabaseSettings("arn"), unreachable_secrets)
