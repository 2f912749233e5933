"""Executions behave as the Amazon States Language and the Step Functions Developer Guide say.

MiniStack runs most of the language. What it lacks and this pipeline, or who watches it, relies on:

- Succeed: `Output` ("Succeed workflow state").
- `Assign`: every expression reads the variables as they were when the state was entered ("Passing
  data between states with variables").
- Parallel: `Arguments`, `Output` and `Assign`; branches with variables of their own ("Parallel
  workflow state", "Passing data between states with variables").
- Parallel: a branch that fails stops the others, and the jobs that they wait for ("Parallel
  workflow state"; "Service integration patterns", Run a Job).
- Retry: `MaxDelaySeconds` and `JitterStrategy` ("Handling errors in Step Functions workflows").
- `TimeoutSeconds` of the state machine; an execution that has ended stays as it is, and makes no
  further attempt. A job that it waits for is stopped ("Run a Job", as for branches).
- History: `previousEventId`, and the states inside a Parallel ("GetExecutionHistory").
- `glue:startJobRun` ("Start an AWS Glue job with Step Functions").
"""

import copy
import json
import random
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ministack.services import glue, stepfunctions

Json = dict[str, Any]

_POLL_SECONDS = 0.2
_STARTED_JOB = "arn:aws:states:::glue:startJobRun"
_FIRST_ERROR_STATUS = 400


class _Stopped(Exception):
    """Ends a branch beside one that failed, or an execution that was stopped.

    No Retry or Catch matches it.
    """


class _Branches:
    """The branches of a Parallel state while they run."""

    def __init__(self, outer: "_Branches | None") -> None:
        self._outer = outer
        self.failure: stepfunctions._ExecutionError | None = None

    def are_stopped(self) -> bool:
        """Returns whether a branch of this state, or of one around it, has failed."""
        outer = self._outer is not None and self._outer.are_stopped()
        return self.failure is not None or outer


_BRANCHES: ContextVar[_Branches | None] = ContextVar("branches", default=None)
"""The branches that a thread belongs to: MiniStack hands its context on to every thread."""

_EXECUTION: ContextVar[Json | None] = ContextVar("execution", default=None)
"""The execution that a thread belongs to, likewise."""


def patch() -> None:
    """Replaces what differs, and registers the integration with AWS Glue."""
    stepfunctions._SERVICE_DISPATCH[_STARTED_JOB] = _start_job_run
    stepfunctions._apply_state_assign = _with_values_on_entry(stepfunctions._apply_state_assign)
    stepfunctions._apply_output_path = _with_succeed_output(stepfunctions._apply_output_path)
    stepfunctions._run_parallel_branches = _with_parallel_fields(
        stepfunctions._run_parallel_branches
    )
    stepfunctions._run_sub_machine = _with_own_variables(stepfunctions._run_sub_machine)
    stepfunctions._invoke_resource = _unless_stopped(stepfunctions._invoke_resource)
    stepfunctions._find_matching_retrier = _with_delays(stepfunctions._find_matching_retrier)
    stepfunctions._run_execution = _with_time_limit(stepfunctions._run_execution)
    stepfunctions._fail_execution = _only_while_running(stepfunctions._fail_execution)
    stepfunctions._add_event = _with_previous_event(stepfunctions._add_event)
    stepfunctions._execute_task = _with_inner_history(stepfunctions._execute_task)


def _with_values_on_entry(assign: Callable[..., None]) -> Callable[..., None]:
    def apply_state_assign(
        state: Json, value: Any, context: Json | None, result: Any = None, error_output: Any = None
    ) -> None:
        if context is None or "Assign" not in state:
            return
        assigned: Json = {}
        for name, template in state["Assign"].items():
            entered = {**context, "variables": dict(context["variables"])}
            assign({**state, "Assign": {name: template}}, value, entered, result, error_output)
            assigned[name] = entered["variables"][name]
        context["variables"] |= assigned

    return apply_state_assign


def _with_succeed_output(apply: Callable[..., Any]) -> Callable[..., Any]:
    def apply_output_path(state: Json, value: Any, context: Json | None = None) -> Any:
        if state.get("Type") == "Succeed" and "Output" in state:
            return stepfunctions._apply_jsonata_output(state, value, context, default=value)
        return apply(state, value, context)

    return apply_output_path


def _with_parallel_fields(run: Callable[..., Any]) -> Callable[..., Any]:
    def run_parallel_branches(state: Json, value: Any, execution: Json, context: Json) -> Any:
        arguments = stepfunctions._apply_jsonata_arguments(state, value, context)
        branches = _Branches(_BRANCHES.get())
        token = _BRANCHES.set(branches)
        try:
            results, following = run(state, arguments, execution, context)
        except stepfunctions._ExecutionError as error:
            raise branches.failure or error from error
        finally:
            _BRANCHES.reset(token)
        output = stepfunctions._apply_jsonata_output(
            state, value, context, result=results, default=results
        )
        stepfunctions._apply_state_assign(state, value, context, result=results)
        return output, following

    return run_parallel_branches


def _with_own_variables(run: Callable[..., Any]) -> Callable[..., Any]:
    def run_sub_machine(
        states: Json, start: str, value: Any, execution: Json, context: Json
    ) -> Any:
        inner = copy.deepcopy(context) | {"IsInner": True}
        branches = _BRANCHES.get()
        try:
            return run(states, start, value, execution, inner)
        except stepfunctions._ExecutionError as error:
            if branches and not branches.failure:
                branches.failure = error
            raise

    return run_sub_machine


def _stop_if_told() -> None:
    branches, execution = _BRANCHES.get(), _EXECUTION.get()
    if branches and branches.are_stopped():
        raise _Stopped
    if execution and execution["status"] != "RUNNING":
        raise _Stopped


def _unless_stopped(invoke: Callable[..., Any]) -> Callable[..., Any]:
    def invoke_resource(resource: str, data: Any) -> Any:
        _stop_if_told()
        return invoke(resource, data)

    return invoke_resource


def _with_delays(find: Callable[..., Any]) -> Callable[..., Any]:
    def find_matching_retrier(retriers: list[Json], error: str, counts: dict[int, int]) -> Any:
        retrier, index = find(retriers, error, counts)
        if retrier is None:
            return retrier, index
        delay = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2.0) ** counts.get(
            index, 0
        )
        delay = min(delay, retrier.get("MaxDelaySeconds", delay))
        if retrier.get("JitterStrategy") == "FULL":
            delay = random.uniform(0, delay)  # noqa: S311 - no secret hangs on it  # nosec B311
        return {**retrier, "IntervalSeconds": delay, "BackoffRate": 1.0}, index

    return find_matching_retrier


def _with_time_limit(run: Callable[[str], None]) -> Callable[[str], None]:
    def run_execution(arn: str) -> None:
        execution = stepfunctions._executions.get(arn)
        _EXECUTION.set(execution)
        machine = execution and stepfunctions._state_machines.get(execution["stateMachineArn"])
        limit = json.loads(machine["definition"]).get("TimeoutSeconds") if machine else None
        if limit is None:
            run(arn)
            return
        timer = threading.Timer(limit, _time_out, [execution])
        timer.daemon = True
        timer.start()
        try:
            run(arn)
        finally:
            timer.cancel()

    return run_execution


def _time_out(execution: Json) -> None:
    if execution["status"] == "RUNNING":
        execution |= {
            "error": "States.Timeout",
            "cause": "",
            "stopDate": stepfunctions.now_iso(),
            "status": "TIMED_OUT",
        }
        stepfunctions._add_event(
            execution,
            "ExecutionTimedOut",
            {"executionTimedOutEventDetails": {"error": "States.Timeout", "cause": ""}},
        )
        stepfunctions._emit_execution_status_event(execution)


def _only_while_running(fail: Callable[..., None]) -> Callable[..., None]:
    def fail_execution(execution: Json, error: str, cause: str) -> None:
        if execution["status"] == "RUNNING":
            fail(execution, error, cause)

    return fail_execution


def _with_previous_event(add: Callable[..., Json]) -> Callable[..., Json]:
    lock = threading.Lock()
    # Every branch runs in a thread of its own, so a thread's last event is the branch's.
    last = threading.local()

    def add_event(execution: Json, kind: str, details: Json | None = None) -> Json:
        arn = execution["executionArn"]
        with lock:
            event = add(execution, kind, details)
        if getattr(last, "arn", None) == arn:
            event["previousEventId"] = last.id
        else:
            event["previousEventId"] = _entry_of_parallel(execution, event["id"])
        last.arn, last.id = arn, event["id"]
        return event

    return add_event


def _entry_of_parallel(execution: Json, before: int) -> int:
    """Returns the event that a thread's first one follows: 0 at the beginning of an execution."""
    return next(
        (
            int(event["id"])
            for event in reversed(execution["events"][: before - 1])
            if event["type"] == "ParallelStateEntered"
        ),
        before - 1,
    )


def _with_inner_history(run: Callable[..., Any]) -> Callable[..., Any]:
    def execute_task(state: Json, value: Any, execution: Json, context: Json) -> Any:
        if not context.get("IsInner"):
            return run(state, value, execution, context)
        name = context["State"]["Name"]
        stepfunctions._add_event(
            execution,
            "TaskStateEntered",
            {"stateEnteredEventDetails": {"name": name, "input": json.dumps(value)}},
        )
        output, following = run(state, value, execution, context)
        stepfunctions._add_event(
            execution,
            "TaskStateExited",
            {"stateExitedEventDetails": {"name": name, "output": json.dumps(output)}},
        )
        return output, following

    return execute_task


def _start_job_run(resource: str, data: Json) -> Json:
    """Starts a job and, for `.sync`, waits for its end."""
    status, _, body = glue._start_job_run(data)
    answer = json.loads(body)
    if status >= _FIRST_ERROR_STATUS:
        name = answer.get("__type", "GlueException").rpartition("#")[2]
        raise stepfunctions._ExecutionError(f"Glue.{name}", answer.get("message", ""))
    if not resource.endswith(".sync"):
        return dict(answer)
    names = {"JobName": data["JobName"], "RunId": answer["JobRunId"]}
    while True:
        run: Json = json.loads(glue._get_job_run(names)[2])["JobRun"]
        if run["CompletedOn"] is not None:
            break
        try:
            _stop_if_told()
        except _Stopped:
            glue._batch_stop_job_run({"JobName": names["JobName"], "JobRunIds": [names["RunId"]]})
            raise
        time.sleep(_POLL_SECONDS)
    if run["JobRunState"] != "SUCCEEDED":
        raise stepfunctions._ExecutionError("States.TaskFailed", json.dumps(run))
    return run
