"""Reads the state machines, evaluates their JSONata, and walks their Pass and Choice states."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonata import Jsonata, Utils
from jsonata.jexception import JException

PATHS = {
    path.name.partition(".")[0]: path
    for path in (Path(__file__).parents[3] / "state_machine").glob("*.asl.json")
}
"""The definitions' files, by the state machine's name."""

DEFINITIONS: dict[str, dict[str, Any]] = {
    name: json.loads(path.read_text()) for name, path in PATHS.items()
}
CONTEXT = {
    "Execution": {
        "Id": "arn:aws:states:eu-west-2:123456789012:execution:totesys-pipeline:run-7",
        "Name": "run-7",
        "StartTime": "2026-11-21T07:00:00.000Z",
    }
}
EXPRESSION_FAILED = (JException, AssertionError, ValueError)
STATES: dict[str, Any] = DEFINITIONS["pipeline"]["States"]
MAINTENANCE: dict[str, Any] = DEFINITIONS["maintenance"]["States"]


def all_states(states: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields every state with its name, those of the branches too."""
    for name, state in states.items():
        yield name, state
        for branch in state.get("Branches", ()):
            yield from all_states(branch["States"])


def tasks() -> dict[tuple[str, str], dict[str, Any]]:
    """Returns the Task states by their state machine and name."""
    return {
        (machine, name): state
        for machine, definition in DEFINITIONS.items()
        for name, state in all_states(definition["States"])
        if state["Type"] == "Task"
    }


def expressions(value: Any = DEFINITIONS) -> Iterator[str]:
    """Yields every JSONata expression, without its markers."""
    if isinstance(value, dict):
        for item in value.values():
            yield from expressions(item)
    elif isinstance(value, list):
        for item in value:
            yield from expressions(item)
    elif isinstance(value, str) and value.startswith("{%"):
        yield value.removeprefix("{%").removesuffix("%}").strip()


def evaluate(value: Any, variables: dict[str, Any], states: dict[str, Any]) -> Any:
    """Returns a field of a state as Step Functions would evaluate it.

    Args:
        value: The field: JSON whose strings may be expressions.
        variables: The workflow's variables.
        states: What `$states` holds.

    Raises:
        AssertionError: An expression gave nothing, which Step Functions takes for an error.
    """
    if isinstance(value, dict):
        return {key: evaluate(item, variables, states) for key, item in value.items()}
    if isinstance(value, list):
        return [evaluate(item, variables, states) for item in value]
    if not (isinstance(value, str) and value.startswith("{%")):
        return value
    text = value.removeprefix("{%").removesuffix("%}").strip()
    bindings = {
        name: Utils.NULL_VALUE if item is None else item for name, item in variables.items()
    }
    bindings["states"] = states
    result = _compiled(text).evaluate(None, bindings)
    defined = _compiled(f"$exists(({text}))").evaluate(None, bindings)
    assert defined, f"undefined: {text}"
    return result


def walk(
    states: dict[str, Any], start: str, variables: dict[str, Any], value: Any = None
) -> tuple[str, Any]:
    """Goes from a state to the next that calls a service or ends the machine.

    Args:
        states: The states of a machine or a branch.
        start: Where to begin.
        variables: The workflow's variables, which the states change.
        value: The state's input.

    Returns:
        The name of the state that was reached, and its input.

    Raises:
        JException: An expression failed.
    """
    name = start
    while (state := states[name])["Type"] in ("Pass", "Choice", "Parallel"):
        held = {"input": value, "context": {**CONTEXT, "State": {"Name": name}}}
        if state["Type"] == "Choice":
            state, name = _chosen(state, variables, held)
            variables |= evaluate(state.get("Assign", {}), variables, held)
            continue
        if state["Type"] == "Parallel":
            try:
                ends = [_branch(branch, variables, value) for branch in state["Branches"]]
            except EXPRESSION_FAILED as error:
                held["errorOutput"] = {"Error": "States.QueryEvaluationError", "Cause": str(error)}
                (state,) = state["Catch"]
            else:
                held["result"] = ends
        output = evaluate(state["Output"], variables, held) if "Output" in state else value
        variables |= evaluate(state.get("Assign", {}), variables, held)
        value = output
        if "Next" not in state:
            return name, value
        name = state["Next"]
    return name, value


def _chosen(
    state: dict[str, Any], variables: dict[str, Any], held: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    for rule in state["Choices"]:
        if evaluate(rule["Condition"], variables, held):
            return rule, rule["Next"]
    return state, state["Default"]


def _branch(branch: dict[str, Any], variables: dict[str, Any], value: Any) -> Any:
    return walk(branch["States"], branch["StartAt"], dict(variables), value)[1]


def _compiled(text: str) -> Jsonata:
    expression = Jsonata(text)
    expression.register_lambda("parse", json.loads)
    return expression
