"""A job's `--conf` is read as AWS Glue reads it."""

import pytest

from local.cloud.spark_settings import JAVA_OPTIONS, settings_of, spark_settings, with_java_options


@pytest.mark.parametrize(
    ("conf", "settings"),
    [
        ("", {}),
        ("a=1", {"a": "1"}),
        ("a=1 --conf b=x=y --conf c=", {"a": "1", "b": "x=y", "c": ""}),
        ("a=1  --conf b=2\n", {"a": "1", "b": "2"}),
    ],
)
def test_settings_are_joined_by_the_option_s_name(conf, settings):
    assert settings_of(conf) == settings


def test_everything_that_spark_speaks_to_is_the_local_cloud(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    settings = spark_settings("http://127.0.0.1:9", tmp_path)
    endpoints = {value for name, value in settings.items() if name.endswith(".endpoint")}
    assert endpoints == {"http://127.0.0.1:9"}
    assert settings["spark.driver.bindAddress"] == "127.0.0.1"
    assert settings["spark.driver.extraClassPath"] == f"{tmp_path}/*"


def test_a_java_option_with_a_space_is_one_option():
    settings = with_java_options({JAVA_OPTIONS: "-Xshare:auto"}, ["-XX:SharedArchiveFile=/a b"])
    assert settings == {JAVA_OPTIONS: '-Xshare:auto "-XX:SharedArchiveFile=/a b"'}
