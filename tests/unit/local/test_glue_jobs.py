"""Runs of jobs that a local cloud did not end."""

from pathlib import Path

import pytest
from ministack.services import glue

from local.cloud import glue_jobs


@pytest.mark.parametrize(("started_on", "is_refused"), [(1, False), (2**40, True)])
def test_a_run_that_a_stopped_local_cloud_took_with_it_blocks_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, started_on: int, is_refused: bool
) -> None:
    for name in ("_resolve_script", "_get_docker", "_execute_spark_docker"):
        monkeypatch.setattr(glue, name, getattr(glue, name))
    monkeypatch.setattr(glue, "_start_job_run", lambda _data: (200, {}, b""))
    unended = {"CompletedOn": None, "StartedOn": started_on}
    monkeypatch.setattr(glue, "_job_runs", {"job": [unended]})
    glue_jobs.patch("http://127.0.0.1:1", tmp_path, tmp_path)

    assert (glue._start_job_run({"JobName": "job"})[0] == 400) is is_refused
