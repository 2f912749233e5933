"""Settings come from the environment; one that is missing or malformed says what to do."""

import pytest

from pipeline.errors import InvalidSettings
from pipeline.settings import (
    DatabaseSettings,
    GlueCodeSettings,
    IngestSettings,
    LoadSettings,
    PublishSettings,
)

INGEST = {
    "SOURCE_SECRET_ARN": "arn:source",
    "RAW_BUCKET": "raw",
    "GLUE_DATABASE": "star",
    "POWERTOOLS_METRICS_NAMESPACE": "ToteSys/a",
}


def test_a_function_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTS_BUCKET", "artifacts")

    assert GlueCodeSettings.read() == GlueCodeSettings("artifacts")


def test_what_is_not_set_has_a_default() -> None:
    settings = IngestSettings.read(INGEST)

    assert settings == IngestSettings(
        source=DatabaseSettings("arn:source", "verify-full", host="", port=5432, name=""),
        raw_bucket="raw",
        glue_database="star",
        small_build_rows=1_000_000,
        readers=2,
        metrics_namespace="ToteSys/a",
        schemas=("public",),
        tables_left_out=("_prisma_migrations",),
        columns_left_out=(),
        reread_limit_bytes=10 * 1024**3,
    )


def test_a_list_of_names_is_separated_by_commas() -> None:
    settings = IngestSettings.read({**INGEST, "SOURCE_SCHEMAS": "public, hr,,two words "})

    assert settings.schemas == ("public", "hr", "two words")


def test_each_database_has_an_address_of_its_own() -> None:
    variables = {
        "WAREHOUSE_SECRET_ARN": "arn:warehouse",
        "WAREHOUSE_HOST": "db.example",
        "WAREHOUSE_PORT": "5433",
        "WAREHOUSE_DATABASE": "sales",
        "WAREHOUSE_ADMIN_SECRET_ARN": "arn:administrator",
        "DATABASE_SSL_MODE": "require",
        "SOURCE_HOST": "another.example",
        "RAW_BUCKET": "raw",
        "GLUE_DATABASE": "star",
        "POWERTOOLS_METRICS_NAMESPACE": "ToteSys/a",
    }

    assert LoadSettings.read(variables) == LoadSettings(
        warehouse=DatabaseSettings("arn:warehouse", "require", "db.example", 5433, "sales"),
        raw_bucket="raw",
        glue_database="star",
        metrics_namespace="ToteSys/a",
        administrator_secret_arn="arn:administrator",
    )


@pytest.mark.parametrize("variables", [{}, {"RAW_BUCKET": ""}])
def test_a_missing_or_empty_setting_is_refused_by_name(variables: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings, match="RAW_BUCKET is not set"):
        PublishSettings.read({"WAREHOUSE_SECRET_ARN": "arn", **variables})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("READERS", "two"),
        ("READERS", "2.5"),
        ("READERS", "-1"),
        ("READERS", "0"),
        ("READERS", "9"),
        ("REREAD_LIMIT_BYTES", "10 GB"),
        ("SOURCE_PORT", "0"),
        ("SOURCE_PORT", "65536"),
        ("SOURCE_PORT", "5432 "),
        ("DATABASE_SSL_MODE", "sometimes"),
    ],
)
def test_a_malformed_setting_is_refused_by_name_and_value(name: str, value: str) -> None:
    with pytest.raises(InvalidSettings, match=f"{name} is '{value}'"):
        IngestSettings.read({**INGEST, name: value})
