"""A Glue job refuses what it cannot understand before it starts Spark."""

import pytest

from glue_jobs.build.job import run_job, run_maintenance
from pipeline.errors import InvalidInput


@pytest.mark.parametrize("sequence", ["latest", "-1", "1.5", "", "²"])
def test_a_sequence_that_is_no_number_is_refused(sequence: str) -> None:
    arguments = ["job.py", "--raw_bucket", "raw", "--glue_database", "star"]

    with pytest.raises(InvalidInput, match=r"--through_sequence is .*: a run's number is wanted"):
        run_job(
            [*arguments, f"--through_sequence={sequence}", "--rebuild", "false"], lambda star: True
        )


@pytest.mark.parametrize("name", ["snapshot_days", "snapshots_kept", "orphan_days"])
def test_a_retention_that_is_no_number_is_refused(name: str) -> None:
    numbers = {"snapshot_days": "7", "snapshots_kept": "20", "orphan_days": "3", name: "few"}
    arguments = [part for key, value in numbers.items() for part in (f"--{key}", value)]

    with pytest.raises(InvalidInput, match=rf"--{name} is 'few': a number of .* is wanted"):
        run_maintenance(["job.py", "--glue_database", "star", *arguments])
