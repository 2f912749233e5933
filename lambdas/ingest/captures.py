"""The tables' entries in a run's manifest, made from the plan and from what the readers took."""

import dataclasses
from collections.abc import Iterable, Mapping

from lambdas.ingest.change_capture import uncaptured
from lambdas.ingest.discovery import NO_STATISTICS
from lambdas.ingest.key_count import KeyCount, Keys
from lambdas.ingest.progress import ChunkKey
from lambdas.ingest.raw_zone import RawZone
from lambdas.ingest.run_plan import RunPlan, TablePlan
from lambdas.ingest.taken import FIRST, Taken
from lambdas.ingest.transactions import bounded
from pipeline.manifest import Capture, Manifest, TableCapture


def table_captures(
    plan: RunPlan,
    previous: Manifest | None,
    chunks: Mapping[ChunkKey, Taken],
    swept: Mapping[str, Taken],
    not_taken: Mapping[str, str],
) -> dict[str, TableCapture]:
    """Returns the manifest entry of every table, by name.

    A table that was not taken keeps its last capture. It has no entry if there is none.

    Args:
        plan: The run's plan.
        previous: The newest committed run.
        chunks: What each chunk gave; every chunk of the tables that were taken must be there.
        swept: What each key sweep gave, by table.
        not_taken: Why each of the other tables was not taken.
    """
    before, gone = (previous.tables, previous.gone) if previous else ({}, {})
    captures = {
        name: _not_taken(plan, before[name], reason)
        for name, reason in not_taken.items()
        if name in before
    }
    for planned in plan.tables:
        if planned.name in not_taken:
            continue
        last = before.get(planned.name)
        parts = (chunks[planned.name, number] for number in range(len(planned.chunks)))
        taken = sum(parts, start=Taken())
        captures[planned.name] = _capture(
            plan,
            planned,
            last,
            taken,
            swept.get(planned.name),
            last_change=last.changed_in if last else gone.get(planned.name, 0),
        )
    return dict(sorted(captures.items()))


def gone_tables(previous: Manifest | None, captures: Mapping[str, TableCapture]) -> dict[str, int]:
    """Returns the newest run that holds rows or keys of each table that the source no longer has.

    Args:
        previous: The newest committed run.
        captures: The manifest entry of every table of this run.
    """
    if previous is None:
        return {}
    last = previous.gone | {name: one.changed_in for name, one in previous.tables.items()}
    return {name: run for name, run in sorted(last.items()) if name not in captures}


def keys_of(planned: TablePlan, taken: Taken) -> Keys:
    """Returns what became of the keys that the last run knew, after a capture of changes."""
    count, counting = _count(planned, taken), planned.decision.counting
    if planned.decision.capture is not Capture.CHANGES:
        return Keys.EXPLAINED
    return count.compared(counting.before) if count and counting else Keys.UNEXPLAINED


def uncaptured_warnings(captures: Mapping[str, TableCapture]) -> Iterable[str]:
    """Yields a warning for each table that has rows that no capture has brought."""
    for name, capture in captures.items():
        if capture.starts_over and not capture.not_taken:
            yield f"{uncaptured(name)}: the next run captures it whole"


def not_held_warnings(captures: Mapping[str, TableCapture], bucket: str) -> Iterable[str]:
    """Yields a warning for each table that has values in the raw quarantine."""
    for name, capture in captures.items():
        if capture.not_held:
            yield (
                f"table {name} has {capture.not_held} values that its raw types cannot hold; "
                f"their rows are in s3://{bucket}/{RawZone.QUARANTINE}/{name}/"
            )


def _not_taken(plan: RunPlan, last: TableCapture, reason: str) -> TableCapture:
    statistics = NO_STATISTICS if plan.distrusts_counters else last.statistics
    return dataclasses.replace(
        last.unchanged(),
        not_taken=reason,
        not_taken_since=last.not_taken_since or plan.sequence,
        statistics=statistics,
        starts_over=last.starts_over or plan.starts_over,
    )


def _capture(
    plan: RunPlan,
    planned: TablePlan,
    last: TableCapture | None,
    taken: Taken,
    swept: Taken | None,
    *,
    last_change: int,
) -> TableCapture:
    decision, count = planned.decision, _count(planned, taken)
    keys_swept = decision.capture is Capture.WHOLE or swept is not None
    is_change = taken.rows > 0 or taken.not_held > 0 or keys_swept
    # The cursor of a table that was not read stays where it was.
    cursor = None if decision.cursor_moves else last
    return TableCapture(
        capture=decision.capture if is_change else Capture.NONE,
        rows=taken.rows,
        files=taken.files,
        key_files=swept.files if swept else (),
        not_held=taken.not_held,
        quarantine_files=taken.quarantine_files,
        keys_swept=keys_swept,
        columns=planned.table.columns,
        primary_key=planned.table.primary_key,
        table_oid=planned.table.oid,
        horizon=cursor.horizon if cursor else plan.snapshot.horizon,
        statistics=cursor.statistics if cursor else planned.statistics,
        content_digest=cursor.content_digest if cursor else str(count.every) if count else None,
        changed_in=plan.sequence if is_change else last_change,
        previous_change=last_change if is_change else (last.previous_change if last else 0),
        natural_key=planned.natural_key,
        captured_transactions=_captured_transactions(planned, cursor, taken),
        starts_over=keys_of(planned, taken) is Keys.UNCAPTURED,
        greatest_keys=cursor.greatest_keys if cursor else count.greatest_keys if count else (),
        printed_names=planned.table.printed_names,
        written=taken.written,
        keys_written=swept.written if swept else (),
    )


def _count(planned: TablePlan, taken: Taken) -> KeyCount | None:
    """Returns the count of a table's rows in the run's first snapshot; None if there is none.

    A capture that a later invocation took part in has rows of several snapshots, and no count.
    """
    return (planned.decision.count or taken.count) if taken.invocations <= {FIRST} else None


def _captured_transactions(
    planned: TablePlan, cursor: TableCapture | None, taken: Taken
) -> tuple[int, ...]:
    """Returns the transactions at or above the cursor's horizon that need not be captured again.

    A capture of several snapshots stores none.
    """
    if cursor:
        return cursor.captured_transactions
    if not taken.invocations <= {FIRST}:
        return ()
    count = _count(planned, taken)
    return bounded({*planned.decision.definitions, *(count.transactions if count else ())})
