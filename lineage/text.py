"""A trace as lines for people."""

from collections.abc import Iterator
from datetime import UTC, datetime

from lineage.trace import Step, Trace

_LABEL = 11
_RUNS = 5
"""How many runs a line names."""


def lines(trace: Trace) -> Iterator[str]:
    """Yields the lines of a trace."""
    versions = sum(step.is_version for step in trace.steps)
    yield f"{trace.table}, {trace.natural_key} {trace.key}: {_counted(versions, 'version')}"
    yield _line("source now", _now(trace))
    for part, reason in trace.not_reached.items():
        yield _line("not reached", f"{part}: {reason}")
    for step in trace.steps:
        yield ""
        yield from _step(step)
    if trace.references:
        yield ""
        yield "the current version refers to"
        for one in trace.references:
            yield _line("", f"{one.table} {one.key} ({one.column}), {one.state} in the warehouse")


def _step(step: Step) -> Iterator[str]:
    at = f", the source at {step.snapshot_at}" if step.snapshot_at else ""
    yield f"run {step.sequence}: {step.event}{at}, execution {step.run_id}"
    for reason in step.reasons:
        yield _line("reason", reason)
    for name, (before, now) in step.changes.items():
        yield _line("change", f"{name}: {_value(before)} -> {_value(now)}")
    if step.event == "inserted":
        yield _line("content", ", ".join(f"{n} {_value(v)}" for n, v in step.content.items()))
    yield from _places(step)
    for remark in step.remarks:
        yield _line("note", remark)


def _places(step: Step) -> Iterator[str]:
    if step.raw:
        again = f"; again in {_runs(step.again_in)}" if step.again_in else ""
        yield _line("raw", f"{step.raw.file}, row {step.raw.row} ({step.capture}){again}")
    if step.event == "deleted":
        where = ", ".join(step.keys) or "the table is empty"
        yield _line("raw", f"no such key in the {step.capture} capture: {where}")
    for source, key, sequence in step.joined:
        yield _line("joined", f"{source} {key}, captured by run {sequence}")
    record = f"record {step.record_id}, " if step.record_id else ""
    if step.snapshot:
        held = step.snapshot
        at = datetime.fromtimestamp(held.committed_at_ms / 1000, UTC).isoformat(" ", "seconds")
        more = "" if held.is_first else ", or an earlier one that has expired"
        yield _line("lake", f"{record}snapshot {held.snapshot_id} of {at}{more}")
    for waited in step.waited:
        yield _line("waited for", waited)
    if step.waiting:
        since = step.waiting.since.isoformat(" ", "seconds")
        attempts = _counted(step.waiting.attempts, "attempt")
        yield _line("waits", f"since {since}, {attempts}: {'; '.join(step.waiting.reasons)}")
    if step.load:
        at = step.load.loaded_at.isoformat(" ", "seconds")
        yield _line("warehouse", f"shown at {at} by the load of run {step.load.sequence}")


def _now(trace: Trace) -> str:
    if "source" in trace.not_reached or trace.equals_source is None:
        return trace.source_now
    if trace.equals_source:
        return f"{trace.source_now}, and the warehouse shows the same"
    different = "; ".join(
        f"{name} is {_value(now)}, in the warehouse {_value(shown)}"
        for name, (shown, now) in trace.differences.items()
    )
    return f"{trace.source_now}, and the warehouse does not show that: " + (
        different or "the next run brings it, unless it waits"
    )


def _value(value: str | None) -> str:
    return "null" if value is None else ascii(value) if not value.isprintable() else value


def _line(label: str, text: str) -> str:
    return f"  {label:{_LABEL}} {text}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _runs(sequences: list[int]) -> str:
    shown = ", ".join(map(str, sequences[:_RUNS]))
    more = f" and {len(sequences) - _RUNS} more" if len(sequences) > _RUNS else ""
    return ("runs " if len(sequences) > 1 else "run ") + shown + more
