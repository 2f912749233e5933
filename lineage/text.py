"""A trace as lines for people."""

from collections.abc import Iterator
from datetime import UTC, datetime

from lineage.trace import Step, Trace

_LABEL = 11
_RUNS = 5
"""How many runs a line names."""


Entry = tuple[str, str]
"""A label, and what it says."""


def lines(trace: Trace) -> Iterator[str]:
    """Yields the lines of a trace."""
    yield f"{trace.table}, {trace.natural_key} {trace.key}: {versions(trace)}"
    yield from map(_line, summary(trace))
    for step in trace.steps:
        yield ""
        yield heading(step)
        yield from map(_line, _values(step))
        yield from map(_line, circumstances(step))
    if trace.references:
        yield ""
        yield "the current version refers to"
        for one in trace.references:
            said = f"{one.table} {one.key} ({one.column}), {one.state} in the warehouse"
            yield _line(("", said))


def versions(trace: Trace) -> str:
    """Returns how many versions the row has."""
    return _counted(sum(step.is_version for step in trace.steps), "version")


def summary(trace: Trace) -> Iterator[Entry]:
    """Yields how the row compares with the source now, and the parts that were not reached."""
    yield "source now", _now(trace)
    for part, reason in trace.not_reached.items():
        yield "not reached", f"{part}: {reason}"


def heading(step: Step) -> str:
    """Returns what happened, when and by which execution."""
    at = f", the source at {step.snapshot_at}" if step.snapshot_at else ""
    return f"run {step.sequence}: {step.event}{at}, execution {step.run_id}"


def circumstances(step: Step) -> Iterator[Entry]:
    """Yields all that is known of a step besides the row's values."""
    for reason in step.reasons:
        yield "reason", reason
    yield from _places(step)
    for remark in step.remarks:
        yield "note", remark


def value(text: str | None) -> str:
    """Returns a value as it is shown: what a screen would not print is escaped."""
    return "null" if text is None else text if text.isprintable() else ascii(text)


def _values(step: Step) -> Iterator[Entry]:
    for name, (before, now) in step.changes.items():
        yield "change", f"{name}: {value(before)} -> {value(now)}"
    if step.event == "inserted":
        yield "content", ", ".join(f"{name} {value(text)}" for name, text in step.content.items())


def _places(step: Step) -> Iterator[Entry]:
    if step.raw:
        again = f"; again in {_runs(step.again_in)}" if step.again_in else ""
        yield "raw", f"{step.raw.file}, row {step.raw.row} ({step.capture}){again}"
    if step.event == "deleted":
        where = ", ".join(step.keys) or "the table is empty"
        yield "raw", f"no such key in the {step.capture} capture: {where}"
    for source, key, sequence in step.joined:
        yield "joined", f"{source} {key}, captured by run {sequence}"
    record = f"record {step.record_id}, " if step.record_id else ""
    if step.snapshot:
        held = step.snapshot
        at = datetime.fromtimestamp(held.committed_at_ms / 1000, UTC).isoformat(" ", "seconds")
        more = "" if held.is_first else ", or an earlier one that has expired"
        yield "lake", f"{record}snapshot {held.snapshot_id} of {at}{more}"
    for waited in step.waited:
        yield "waited for", waited
    if step.waiting:
        since = step.waiting.since.isoformat(" ", "seconds")
        attempts = _counted(step.waiting.attempts, "attempt")
        yield "waits", f"since {since}, {attempts}: {'; '.join(step.waiting.reasons)}"
    if step.load:
        at = step.load.loaded_at.isoformat(" ", "seconds")
        yield "warehouse", f"shown at {at} by the load of run {step.load.sequence}"


def _now(trace: Trace) -> str:
    if "source" in trace.not_reached or trace.equals_source is None:
        return trace.source_now
    if trace.equals_source:
        return f"{trace.source_now}, and the warehouse shows the same"
    different = "; ".join(
        f"{name} is {value(now)}, in the warehouse {value(shown)}"
        for name, (shown, now) in trace.differences.items()
    )
    return f"{trace.source_now}, and the warehouse does not show that: " + (
        different or "the next run brings it, unless it waits"
    )


def _line(entry: Entry) -> str:
    label, text = entry
    return f"  {label:{_LABEL}} {text}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _runs(sequences: list[int]) -> str:
    shown = ", ".join(map(str, sequences[:_RUNS]))
    more = f" and {len(sequences) - _RUNS} more" if len(sequences) > _RUNS else ""
    return ("runs " if len(sequences) > 1 else "run ") + shown + more
