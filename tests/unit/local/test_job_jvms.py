"""When a job's JVM waits for the next job, and when it ends."""

import pytest

from local.cloud import job_jvms
from local.cloud.class_archive import ClassArchive
from local.cloud.job_jvms import JobJvm, JobJvms, JvmFailed
from local.cloud.spark_settings import spark_settings
from tests.fixtures.waiting import wait_until


class Jvm:
    """A JVM that tells what is done with it."""

    def __init__(self, _home, settings, _archive):
        self.settings = settings
        self.done = []

    def prepare(self, _settings, credentials):
        self.done.append(credentials)

    def clean(self):
        return True

    def end(self, **how):
        self.done.append(how)

    def kill(self):
        self.done.append("killed")


@pytest.fixture
def jvms(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    monkeypatch.setattr(job_jvms, "JobJvm", Jvm)
    (tmp_path / "jars").mkdir()
    return JobJvms("http://127.0.0.1:1", tmp_path / "jars")


def test_two_jobs_at_once_have_two_jvms_and_a_later_one_has_either(jvms):
    first, second = jvms.take({}, {}), jvms.take({}, {})
    assert first is not second

    jvms.give_back(second, 1)

    assert jvms.take({"spark.sql.ansi.enabled": "true"}, {"of": "the third"}) is second
    assert second.done == [{}, {"of": "the third"}]


def test_a_job_with_other_memory_has_another_jvm(jvms):
    first = jvms.take({}, {})
    jvms.give_back(first, 0)

    assert jvms.take({"spark.driver.memory": "1g"}, {}) is not first


def test_the_jvm_of_a_stopped_job_is_killed(jvms):
    jvm = jvms.take({}, {})

    jvms.give_back(jvm, None)

    assert jvm.done == [{}, "killed"]
    assert jvms.take({}, {}) is not jvm


@pytest.mark.parametrize(("code", "is_kept"), [(0, True), (1, False)])
def test_a_jvm_that_no_job_may_follow_ends_and_the_classes_of_a_success_are_kept(
    jvms, monkeypatch, code, is_kept
):
    monkeypatch.setattr(Jvm, "clean", lambda _jvm: False)
    jvm = jvms.take({}, {})

    jvms.give_back(jvm, code)

    assert jvm.done == [{}, {"is_kept": is_kept}]
    assert jvms.take({}, {}) is not jvm


def test_a_jvm_that_waits_for_long_ends(jvms, monkeypatch):
    monkeypatch.setattr(job_jvms, "_IDLE_SECONDS", 0.01)
    jvm = jvms.take({}, {})

    jvms.give_back(jvm, 0)

    wait_until(lambda: jvm.done == [{}, {}])
    assert jvms.take({}, {}) is not jvm


def test_a_jvm_that_does_not_start_is_named_with_what_it_wrote(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    program = tmp_path / "home/bin/spark-submit"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho no memory\nexit 1\n")
    program.chmod(0o755)
    home, jars = tmp_path / "home", tmp_path / "jars"

    with pytest.raises(JvmFailed, match="no memory"):
        JobJvm(home, spark_settings("http://127.0.0.1:1", jars), ClassArchive(jars, home))
