"""The Glue job that builds all of the star schema, if little is to be built."""

import sys

from glue_jobs.build.job import run_job

if __name__ == "__main__":
    run_job(sys.argv, lambda star: True)  # noqa: ARG005
