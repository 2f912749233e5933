"""The Glue job that builds the facts of the star schema."""

import sys

from glue_jobs.build.job import run_job

if __name__ == "__main__":
    run_job(sys.argv, lambda star: star.is_fact)
