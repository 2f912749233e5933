"""The Glue job that keeps the tables of the star schema small and quick to read."""

import sys

from glue_jobs.build.job import run_maintenance

if __name__ == "__main__":
    run_maintenance(sys.argv)
