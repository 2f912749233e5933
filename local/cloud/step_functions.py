"""States behave as in the Amazon States Language: Succeed's Output, and a branch's own variables.

AWS Step Functions Developer Guide, "Succeed workflow state" and "Passing data between states with
variables" (a Parallel's branches have a scope of their own).
"""

import copy
import json
import time
from typing import Any

from ministack.services import glue, stepfunctions

_POLL_SECONDS = 0.5
_STARTED_JOB = "arn:aws:states:::glue:startJobRun"


def mend() -> None:
    """Replaces what differs, and registers the integration with AWS Glue."""
    stepfunctions._SERVICE_DISPATCH[_STARTED_JOB] = _start_job_run
    output_path = stepfunctions._apply_output_path
    sub_machine = stepfunctions._run_sub_machine

    def apply_output_path(state: dict[str, Any], value: Any, context: dict[str, Any]) -> Any:
        if state.get("Type") == "Succeed" and "Output" in state:
            return stepfunctions._apply_jsonata_output(state, value, context, default=value)
        return output_path(state, value, context)

    def run_sub_machine(
        states: dict[str, Any], start: str, value: Any, execution: Any, context: dict[str, Any]
    ) -> Any:
        return sub_machine(states, start, value, execution, copy.deepcopy(context))

    stepfunctions._apply_output_path = apply_output_path
    stepfunctions._run_sub_machine = run_sub_machine


def _start_job_run(resource: str, data: dict[str, Any]) -> dict[str, Any]:
    """Starts a job and, for `.sync`, waits for its end.

    AWS Step Functions Developer Guide, "Start an AWS Glue job with Step Functions".
    """
    status, _, body = glue._start_job_run(data)
    answer = json.loads(body)
    if status >= 400:  # noqa: PLR2004 - an HTTP status
        name = answer.get("__type", "GlueException").rpartition("#")[2]
        raise stepfunctions._ExecutionError(f"Glue.{name}", answer.get("message", ""))
    if not resource.endswith(".sync"):
        return dict(answer)
    while True:
        _, _, body = glue._get_job_run({"JobName": data["JobName"], "RunId": answer["JobRunId"]})
        run: dict[str, Any] = json.loads(body)["JobRun"]
        if run["CompletedOn"] is not None:
            break
        time.sleep(_POLL_SECONDS)
    if run["JobRunState"] != "SUCCEEDED":
        raise stepfunctions._ExecutionError("States.TaskFailed", json.dumps(run))
    return run
