"""Executions: the lock, the last success, how far each stage has come, the schedules."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from doctor.checks.storage import PIPELINE, newest_manifest, pipeline_item
from doctor.checks.warehouse import installed, run_once, run_with
from doctor.finding import CannotLook, Check, Finding, fault, judged, not_applicable, ok
from doctor.place import Place

_MACHINES = ("StateMachineArn", "MaintenanceStateMachineArn")
_EXECUTIONS_SEEN = 50
_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_HOURS = {"minute": 1 / 60, "hour": 1.0, "day": 24.0}
_MISSED = 2
"""A success is late after this many intervals of the schedule."""


def free_lock(place: Place, owner: str) -> str:
    """Returns the command that frees the lock, if its owner still has it."""
    key, values = json.dumps({"pipeline": {"S": PIPELINE}}), json.dumps({":me": {"S": owner}})
    return (
        f"aws dynamodb update-item --table-name {place.output('PipelineTable')} --key '{key}' "
        "--update-expression 'REMOVE lock_owner, lease_ends' "
        f"--condition-expression 'lock_owner = :me' --expression-attribute-values '{values}'"
    )


def _lock(place: Place) -> Finding:
    item = pipeline_item(place)
    owner = item.get("lock_owner")
    if owner is None:
        return ok("nobody holds the lock")
    ends = datetime.fromtimestamp(int(item["lease_ends"]), UTC)
    if ends.timestamp() < time.time():
        return ok(f"the lease of {owner} ended at {ends:%H:%M} UTC: the next execution takes over")
    began = _began_if_running(place, owner)
    if began:
        minutes = (datetime.now(UTC) - began).total_seconds() / 60
        return ok(
            f"execution {owner} holds the lock and has been running for {minutes:.0f} minutes"
        )
    return fault(
        f"{owner}, which is not running, holds the lock until {ends:%Y-%m-%d %H:%M} UTC: every "
        "execution is skipped",
        free_lock(place, owner),
    )


def _began_if_running(place: Place, owner: str) -> datetime | None:
    """Returns when the execution that holds the lock began; None if it is not running.

    Of one that was started before the last deployment the lock may have the name alone.
    """
    client = place.client("stepfunctions")
    machines = [place.output(one).replace(":stateMachine:", ":execution:") for one in _MACHINES]
    for arn in [owner] if owner.startswith("arn:") else [f"{one}:{owner}" for one in machines]:
        try:
            found = client.describe_execution(executionArn=arn)
        except client.exceptions.ExecutionDoesNotExist:
            continue
        if found["status"] == "RUNNING":
            began: datetime = found["startDate"]
            return began
    return None


def _ended(place: Place, machine: str) -> list[dict[str, Any]]:
    """Returns the newest executions of a state machine that have ended, newest first."""
    found = place.client("stepfunctions").list_executions(
        stateMachineArn=place.output(machine), maxResults=_EXECUTIONS_SEEN
    )
    ended = [one for one in found["executions"] if one["status"] != "RUNNING"]
    return sorted(ended, key=lambda one: one["startDate"], reverse=True)


def _described(place: Place, execution: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = place.client("stepfunctions").describe_execution(
        executionArn=execution["executionArn"]
    )
    return found


def _completed(place: Place, machine: str) -> dict[str, Any] | None:
    """Returns the newest execution that succeeded and was not skipped."""
    for one in _ended(place, machine):
        if one["status"] == "SUCCEEDED":
            described = _described(place, one)
            if json.loads(described.get("output") or "{}").get("status") != "skipped":
                return described
    return None


def _last_execution(place: Place) -> Finding:
    return _last(place, "StateMachineArn", run_once(place))


def _last(place: Place, machine: str, fix: str) -> Finding:
    for one in _ended(place, machine):
        described = _described(place, one)
        if one["status"] != "SUCCEEDED":
            why = described.get("cause") or described.get("error") or "it told no reason"
            return fault(
                f"the last execution, {one['name']}, is {one['status']}: {why}",
                f"{fix}   # when what it says is mended",
            )
        if json.loads(described.get("output") or "{}").get("status") != "skipped":
            return ok(f"the last execution, {one['name']}, succeeded")
    return ok("no execution has ended yet")


def _last_success(place: Place) -> Finding:
    done = _completed(place, "StateMachineArn")
    if done is None:
        return fault("no execution has ever completed", run_once(place))
    age = datetime.now(UTC) - done["stopDate"]
    hours = _interval(place)
    since = f"an execution completed {_text(age)} ago"
    if place.parameters.get("ScheduleState") != "ENABLED" or hours is None:
        return ok(f"{since}; it does not start by itself at a rate")
    if age > timedelta(hours=hours * _MISSED):
        return fault(
            f"the last execution completed {_text(age)} ago, and one is due every "
            f"{_text(timedelta(hours=hours))}",
            run_once(place),
        )
    return ok(since)


def _text(age: timedelta) -> str:
    hours = age.total_seconds() / 3600
    return f"{hours:.0f} hours" if hours >= _MISSED else f"{hours * 60:.0f} minutes"


def _interval(place: Place) -> float | None:
    """Returns the schedule's interval in hours; None for a cron expression."""
    found = _RATE.fullmatch(place.parameters.get("ScheduleExpression", ""))
    return int(found[1]) * _HOURS[found[2]] if found else None


def _loaded(place: Place) -> Finding:
    newest = newest_manifest(place).sequence
    item = pipeline_item(place)
    if "lock_owner" in item and _began_if_running(place, item["lock_owner"]):
        raise CannotLook("an execution is under way", "make doctor   # when it has ended")
    through = int(item.get("loaded_through", 0))
    if through < newest:
        return fault(f"run {newest} is captured, and run {through} is loaded", run_once(place))
    with installed(place) as connection:
        positions = dict(connection.execute("select table_name, sequence from load_position"))
    ahead = {table: run for table, run in positions.items() if run > newest}
    if ahead:
        return fault(
            f"the warehouse is loaded through run {max(ahead.values())}, and the raw zone has "
            f"come to run {newest} only",
            run_with(place, '{"rebuild": true}'),
        )
    behind = sorted(star.name for star in place.stars if positions.get(star.name, 0) < through)
    if behind:
        return fault(
            f"{', '.join(behind)} are not loaded through run {through}",
            run_with(place, '{"rebuild": true}'),
        )
    return ok(f"every star table is loaded through run {newest}")


def _schedule(place: Place) -> Finding:
    return _rule(place, "PipelineStateMachineSchedule", "ScheduleState", "ScheduleExpression")


def _maintenance_schedule(place: Place) -> Finding:
    parameters = place.parameters
    states = [parameters.get(one) for one in ("ScheduleState", "MaintenanceScheduleState")]
    if states == ["ENABLED", "DISABLED"]:
        return fault(
            "the pipeline starts by itself, and maintenance does not",
            place.deploy_with("MaintenanceScheduleState=ENABLED"),
        )
    return _rule(
        place,
        "MaintenanceStateMachineSchedule",
        "MaintenanceScheduleState",
        "MaintenanceScheduleExpression",
    )


def _rule(place: Place, logical: str, state: str, expression: str) -> Finding:
    """Compares a schedule's rule with the parameters."""
    name = place.resource(logical)
    client = place.client("events")
    try:
        rule = client.describe_rule(Name=name)
    except client.exceptions.ResourceNotFoundException:
        return fault(f"the rule {name} is gone", place.deploy)
    wanted = place.parameters.get(state, "DISABLED")
    problems: dict[str, str] = {}
    if rule["State"] != wanted:
        command = "enable-rule" if wanted == "ENABLED" else "disable-rule"
        problems[f"{name} is {rule['State']}, and {state} is {wanted}"] = (
            f"aws events {command} --name {name}"
        )
    if rule.get("ScheduleExpression") != place.parameters.get(expression):
        problems[f"{name} has {rule.get('ScheduleExpression')}, and not {expression}"] = (
            f"aws events put-rule --name {name} --state {wanted} "
            f"--schedule-expression '{place.parameters.get(expression)}'"
        )
    return judged(problems, f"{wanted.lower()}, {rule.get('ScheduleExpression')}")


def _hours(place: Place) -> Finding:
    hours = _interval(place)
    if hours is None:
        return not_applicable("a cron expression has no interval")
    given = float(place.parameters.get("HoursWithoutSuccess", "2"))
    if given < _MISSED * hours:
        wanted = int(-(-_MISSED * hours // 1))
        return fault(
            f"NoSuccessAlarm is raised after {given:.0f} hours, and an execution is due every "
            f"{hours:g}",
            place.deploy_with(f"HoursWithoutSuccess={wanted}"),
        )
    return ok(f"NoSuccessAlarm is raised after {given:.0f} hours")


def _maintenance(place: Place) -> Finding:
    arn = place.output("MaintenanceStateMachineArn")
    fix = (
        "make maintain"
        if place.is_local
        else f"aws stepfunctions start-execution --state-machine-arn {arn}"
    )
    return _last(place, "MaintenanceStateMachineArn", fix)


CHECKS = (
    Check("runs.lock", "who holds the lock, and until when", _lock),
    Check("runs.last_execution", "how the last execution ended", _last_execution),
    Check(
        "runs.last_success", "when an execution last completed, beside the schedule", _last_success
    ),
    Check(
        "runs.loaded",
        "the newest run in the raw zone, and the run that each star table is loaded through",
        _loaded,
    ),
    Check("runs.schedule", "the pipeline's schedule, beside its parameters", _schedule),
    Check(
        "runs.maintenance_schedule",
        "the schedule of maintenance, beside its parameters and the pipeline's",
        _maintenance_schedule,
    ),
    Check("runs.maintenance", "how the last maintenance ended", _maintenance),
    Check("runs.alarm_hours", "HoursWithoutSuccess, beside the schedule's interval", _hours),
)
