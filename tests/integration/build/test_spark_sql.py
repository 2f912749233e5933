"""What a build asks Java for."""

from typing import Any

import pytest
from py4j.clientserver import JavaClient
from py4j.protocol import REFLECTION_COMMAND_NAME
from pyspark.sql import SparkSession
from pyspark.sql import functions as f

from glue_jobs.build.spark_sql import java_class, keep_classes, texts_of

KEPT = ("org.apache.spark.sql.functions", "org.apache.iceberg.util.JsonUtil")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that Java is sent."""
    sent: list[str] = []
    send = JavaClient.send_command

    def noting(client: JavaClient, command: str, *arguments: Any, **named: Any) -> str:
        sent.append(command)
        answer: str = send(client, command, *arguments, **named)
        return answer

    monkeypatch.setattr(JavaClient, "send_command", noting)
    return sent


def test_java_is_asked_for_its_classes_and_their_members_once(
    spark: SparkSession, commands: list[str]
) -> None:
    def use() -> None:
        keep_classes(spark)
        f.coalesce(f.col("name"), f.lit(1), f.expr("2")).alias("first")
        java_class(spark, "org.apache.iceberg.util.JsonUtil").mapper()

    use()
    assert commands
    commands.clear()
    use()
    assert commands
    asked = [one for one in commands if one.startswith(REFLECTION_COMMAND_NAME)]
    assert not [one for one in asked if any(name in one for name in KEPT)]


def test_a_map_of_java_s_arrives_as_it_is(spark: SparkSession) -> None:
    texts = {"": "", "a 'b' \"c\"": "line\nline\ttab\\", "naïve 東京 🐘": "= ; {}", "null": "null"}
    assert spark._jvm is not None
    held = spark._jvm.java.util.HashMap()
    for name, text in texts.items():
        held.put(name, text)

    assert texts_of(spark, held) == texts
