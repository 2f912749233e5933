"""What the page of a run shows, out of the stages' reports and the execution's history."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lambdas.publish.message import message_of
from lambdas.publish.observing import Observation
from pipeline.execution_history import Attempt, Event, attempts_of
from pipeline.object_store import StoredObject
from pipeline.requests import PublishRequest

LAKE_PREFIX: Final = "star/"
"""The prefix of the lake's tables in the lake bucket."""

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Try:
    """One attempt at a state: seconds from the start of the execution, its length, its error."""

    offset: float
    seconds: float
    error: str


@dataclass(frozen=True)
class State:
    """A state that the execution has called a service from, with all of its attempts.

    Attributes:
        name: The state's name.
        offset: Seconds from the start of the execution to the first attempt.
        seconds: Seconds from there to the end of the last attempt.
        tries: The attempts.
    """

    name: str
    offset: float
    seconds: float
    tries: tuple[Try, ...]

    @property
    def errors(self) -> tuple[str, ...]:
        """The errors of the attempts that failed."""
        return tuple(one.error for one in self.tries if one.error)

    @property
    def is_failed(self) -> bool:
        """Whether the last attempt failed."""
        return bool(self.tries[-1].error)


@dataclass(frozen=True)
class LakeTable:
    """The files of a lake table, those of old snapshots included.

    Attributes:
        table: The table.
        files: How many there are.
        bytes: Their size.
        new_files: How many the run added.
        new_bytes: Their size.
    """

    table: str
    files: int
    bytes: int
    new_files: int
    new_bytes: int


@dataclass(frozen=True)
class PageFacts:
    """What the page shows.

    Attributes:
        request: What the execution did.
        message: The same in a sentence; of a failed one, why.
        observed: Its freshness and cost.
        states: Its timeline.
        seconds: How long it has taken so far.
        ingest: Ingest's report; empty if there is none.
        load: Load's report; empty if there is none.
        lake: The lake's tables.
    """

    request: PublishRequest
    message: str
    observed: Observation
    states: tuple[State, ...]
    seconds: float
    ingest: Report
    load: Report
    lake: tuple[LakeTable, ...]

    @property
    def status(self) -> str:
        """What became of the execution: failed, loaded or nothing new."""
        failed = self.request.failure or self.answered_failures
        return "failed" if failed else "loaded" if self.request.publishes else "nothing new"

    @property
    def answered_failures(self) -> list[str]:
        """What Ingest and Load could not do, though they ended."""
        answers = (self.request.ingested, self.request.loaded)
        return [
            f"{one.failure.error}: {one.failure.cause}" for one in answers if one and one.failure
        ]

    @property
    def source_tables(self) -> list[Report]:
        """What the run captured of each source table."""
        return list(self.ingest.get("tables", ()))

    @property
    def builds(self) -> Mapping[str, Report]:
        """What the builds that the load shows wrote to each star table, by the table."""
        found: Mapping[str, Report] = self.load.get("builds", {})
        return found

    @property
    def star_tables(self) -> list[Report]:
        """What the load did to each star table."""
        return list(self.load.get("tables", ()))

    @property
    def certificate(self) -> Report | None:
        """The certificate, if the run was verified."""
        held: Report | None = self.load.get("certificate")
        return held

    @property
    def not_taken(self) -> list[Report]:
        """The source tables that the run could not capture."""
        return [table for table in self.source_tables if table["not_taken"]]

    @property
    def waiting(self) -> list[Report]:
        """The rules that rows break which wait, with the number of rows."""
        found: list[Report] = self.load.get("quality", {}).get("broken_rules", [])
        return found

    @property
    def warnings(self) -> list[str]:
        """What somebody should know of, without the changes of the schema."""
        changes = set(self.schema_changes)
        return [text for text in self.ingest.get("warnings", ()) if text not in changes]

    @property
    def schema_changes(self) -> list[str]:
        """The tables and columns of the source that have come, gone or changed their type."""
        return list(self.ingest.get("schema_changes", ()))


def page_facts(
    request: PublishRequest,
    observed: Observation,
    reports: Mapping[str, Report],
    objects: Iterable[StoredObject],
) -> PageFacts:
    """Returns what the page of a run shows.

    Args:
        request: What the execution did.
        observed: Its freshness, cost and history.
        reports: The reports of its stages, by the stage.
        objects: The objects of the lake's tables.
    """
    began_at = observed.history[0]["timestamp"] if observed.history else None
    return PageFacts(
        request=request,
        message=request.failure or message_of(request, observed),
        observed=observed,
        states=tuple(_states(observed.history)),
        seconds=_seconds(observed.history),
        ingest=reports.get("ingest", {}),
        load=reports.get("load", {}),
        lake=tuple(_lake(objects, began_at)),
    )


def _states(history: list[Event]) -> Iterable[State]:
    """Returns the states in the order of their first attempts."""
    states: list[State] = []
    attempts: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts_of(history):
        attempts[attempt.state].append(attempt)
    for name, tried in attempts.items():
        tries = tuple(
            Try((one.began_at - history[0]["timestamp"]).total_seconds(), one.seconds, one.error)
            for one in tried
        )
        first, last = tries[0], tries[-1]
        seconds = last.offset + last.seconds - first.offset
        states.append(State(name, first.offset, seconds, tries))
    return sorted(states, key=lambda state: state.offset)


def _seconds(history: list[Event]) -> float:
    if not history:
        return 0.0
    length: float = (history[-1]["timestamp"] - history[0]["timestamp"]).total_seconds()
    return length


def _lake(objects: Iterable[StoredObject], began_at: datetime | None) -> Iterable[LakeTable]:
    held: dict[str, list[StoredObject]] = defaultdict(list)
    for entry in objects:
        held[entry.key.removeprefix(LAKE_PREFIX).partition("/")[0]].append(entry)
    for table, entries in sorted(held.items()):
        new = [one for one in entries if began_at and one.last_modified >= began_at]
        yield LakeTable(
            table,
            len(entries),
            sum(one.size for one in entries),
            len(new),
            sum(one.size for one in new),
        )
