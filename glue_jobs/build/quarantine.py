"""Writes the lake's quarantine: source rows that broke a rule of their table."""

import threading
from collections.abc import Callable
from typing import Final

from pyspark.sql import DataFrame, SparkSession

from glue_jobs.build.lake import LakeTable, TableDesign, retrying
from glue_jobs.build.spark_sql import constant_rows, plan_for
from pipeline.applied_run import AppliedRun
from star_schema.quarantine import COLUMNS, COMMENT, QUARANTINE
from star_schema.tables import StarTable, comments, ddl

_ONE_COMMIT_AT_A_TIME: Final = threading.Lock()
"""The facts of a job share the table; other jobs are noticed by the validation of the commit."""


def prepare_quarantine(spark: SparkSession, database: str) -> None:
    """Creates the table, or alters it to match its declaration."""
    design = TableDesign(
        comment=COMMENT,
        comments=comments(COLUMNS),
        sort_key="star_table",
        bounded=("star_table", "_sequence"),
    )

    def prepare() -> None:
        session = spark.newSession()
        plan_for(session, few_rows=True)
        rows = constant_rows(session, [], ddl(COLUMNS))
        LakeTable(session, database, QUARANTINE).prepare(rows, design)

    retrying(prepare, QUARANTINE)


def put_into_quarantine(
    table: LakeTable,
    star: StarTable,
    rows: DataFrame | None,
    *,
    since: int,
    applied: AppliedRun,
    is_whole: Callable[[], bool],
) -> None:
    """Replaces the rows that an unfinished build of the same runs has put there.

    Rows of later runs stay: a job that lingers after its execution was stopped may have been
    overtaken. If it was not, a build of the whole table replaces them too: they are of runs that
    the raw zone has lost.

    Args:
        table: The quarantine.
        star: The star table that the rows are missing from.
        rows: The rows; None if there are none.
        since: The first of the runs that captured them.
        applied: The run of the commit, and the last of those runs.
        is_whole: Returns whether the build makes the whole table, and was not overtaken.

    Raises:
        CommitConflict: Other writers committed at each attempt.
    """
    replaced = f"star_table = '{star.name}' and _sequence >= {since}"
    of_these_runs = f"{replaced} and _sequence <= {applied.through}"

    def replace() -> None:
        table.refresh()
        table.delete(replaced if is_whole() else of_these_runs)
        table.rebase()
        if rows is not None:
            table.append(rows, applied)

    with _ONE_COMMIT_AT_A_TIME:
        retrying(replace, QUARANTINE)
