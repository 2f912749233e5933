"""A Glue job refuses what it cannot understand before it starts Spark."""

import pytest

from glue_jobs.star_schema.job import run_job
from pipeline.errors import InvalidInput


@pytest.mark.parametrize("sequence", ["latest", "-1", "1.5", "", "²"])
def test_a_sequence_that_is_no_number_is_refused(sequence: str) -> None:
    arguments = ["job.py", "--raw_bucket", "raw", "--glue_database", "star"]

    with pytest.raises(InvalidInput, match=r"--through_sequence is .*: a run's number is wanted"):
        run_job(
            [*arguments, f"--through_sequence={sequence}", "--rebuild", "false"], lambda star: True
        )
