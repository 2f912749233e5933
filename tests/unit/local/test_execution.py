"""An execution's history tells which states it is in, and which it has left."""

from datetime import UTC, datetime, timedelta
from typing import Any

from local.execution import EndedState, EnteredState, states_of

BEGIN = datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
LAMBDA = "arn:aws:states:::lambda:invoke"


class History:
    """A history in the making: each event a second after the one before it."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def add(self, kind: str, after: int, **details: Any) -> int:
        """Adds an event that follows another one of its branch, and returns its number."""
        number = len(self.events) + 1
        moment = BEGIN + timedelta(seconds=number)
        event = {"id": number, "previousEventId": after, "type": kind, "timestamp": moment}
        self.events.append({**event, **details})
        return number

    def enter(self, name: str, after: int, kind: str = "Task") -> int:
        """Enters a state."""
        return self.add(f"{kind}StateEntered", after, stateEnteredEventDetails={"name": name})

    def leave(self, name: str, after: int, kind: str = "Task") -> int:
        """Leaves a state."""
        return self.add(f"{kind}StateExited", after, stateExitedEventDetails={"name": name})

    def attempt(self, after: int, outcome: str) -> int:
        """Makes one attempt of a task."""
        scheduled = self.add("TaskScheduled", after, taskScheduledEventDetails={"resource": LAMBDA})
        return self.add(outcome, scheduled)


def test_a_history_without_states_has_none():
    history = History()
    history.add("ExecutionStarted", 0)
    assert states_of(history.events) == ([], [])


def test_a_state_that_was_not_left_is_under_way_since_it_was_entered():
    history = History()
    first = history.enter("Ingest", history.add("ExecutionStarted", 0))
    history.attempt(first, "TaskFailed")
    entered_at = history.events[first - 1]["timestamp"].timestamp()
    assert states_of(history.events) == ([EnteredState("Ingest", entered_at)], [])


def test_a_state_that_was_left_has_its_seconds_and_what_it_called():
    history = History()
    history.leave("Ingest", history.attempt(history.enter("Ingest", 0), "TaskSucceeded"))
    assert states_of(history.events) == ([], [EndedState("Ingest", "Task", 3.0, 0, LAMBDA)])


def test_failed_attempts_before_a_success_are_retries():
    history = History()
    last = history.enter("Ingest", 0)
    for outcome in ("TaskFailed", "TaskTimedOut", "TaskSucceeded"):
        last = history.attempt(last, outcome)
    history.leave("Ingest", last)
    assert [state.retries for state in states_of(history.events)[1]] == [2]


def test_a_last_failed_attempt_that_was_caught_is_no_retry():
    history = History()
    last = history.enter("Ingest", 0)
    for outcome in ("TaskFailed", "TaskFailed"):
        last = history.attempt(last, outcome)
    history.leave("Ingest", last)
    assert [state.retries for state in states_of(history.events)[1]] == [1]


def test_a_state_that_is_entered_again_is_counted_anew():
    history = History()
    last = 0
    for outcomes in (["TaskFailed", "TaskSucceeded"], ["TaskSucceeded"]):
        last = history.enter("Ingest", last)
        for outcome in outcomes:
            last = history.attempt(last, outcome)
        last = history.leave("Ingest", last)
    inside, ended = states_of(history.events)
    assert inside == []
    assert [(state.retries, state.seconds) for state in ended] == [(1, 5.0), (0, 3.0)]


def test_branches_that_run_side_by_side_are_told_apart_by_what_follows_what():
    history = History()
    both = history.enter("Build", 0, kind="Parallel")
    left, right = history.enter("BuildDimensions", both), history.enter("BuildFacts", both)
    left_failed = history.attempt(left, "TaskFailed")
    right_done = history.attempt(right, "TaskSucceeded")
    history.leave("BuildFacts", right_done)
    left_done = history.attempt(left_failed, "TaskSucceeded")

    inside, _ = states_of(history.events)
    assert [state.name for state in inside] == ["Build", "BuildDimensions"]

    history.leave("Build", history.leave("BuildDimensions", left_done), kind="Parallel")
    inside, ended = states_of(history.events)
    assert inside == []
    assert [(state.name, state.kind, state.retries) for state in ended] == [
        ("BuildFacts", "Task", 0),
        ("BuildDimensions", "Task", 1),
        ("Build", "Parallel", 0),
    ]
