"""What the state machines say and decide, evaluated on examples."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.state_machine.definition import MAINTENANCE, STATES, evaluate

CONTEXT = {"Execution": {"Name": "run-7", "StartTime": "2026-11-21T07:00:00.000Z"}}
INGESTED = {
    "complete": True,
    "sequence": 7,
    "committed": True,
    "rows": 12345,
    "seconds": 1.5,
    "tables": [{"table": "design", "capture": "changes", "rows": 12345}],
    "fingerprints": None,
    "warnings": [],
}
LOADED = {
    "complete": True,
    "sequence": 7,
    "rows": 4321,
    "seconds": 2.5,
    "tables": [{"table": "dim_design", "inserted": 4321, "updated": 0}],
    "facts_waiting": 0,
    "quality": {"rows_quarantined": 0, "broken_rules": []},
    "verified": None,
}
PUBLISHED = {"seconds": 0.5, "catalogued": [], "extracts": [], "previews": 0}


def read_input(value: Any) -> dict[str, Any]:
    """Returns the variables that an execution's input sets."""
    states = {"input": value, "context": CONTEXT}
    result: dict[str, Any] = evaluate(STATES["ReadInput"]["Assign"], {}, states)
    return result


def output(**variables: Any) -> dict[str, Any]:
    """Returns the output of an execution that ended with the variables."""
    held = {
        **read_input({}),
        "loadedThrough": 6,
        "ingested": INGESTED,
        "loaded": LOADED,
        "published": PUBLISHED,
        "hasWork": True,
        **variables,
    }
    result: dict[str, Any] = evaluate(STATES["Succeed"]["Output"], held, {"context": CONTEXT})
    return result


def explain(stage: str, error_output: Any, states: dict[str, Any] = STATES) -> dict[str, str]:
    """Returns what is made of a failure."""
    variables = {"runId": "run-7", "failure": {"stage": stage, "output": error_output}}
    result = evaluate(states["Explain"]["Assign"], variables, {"context": CONTEXT})
    failure: dict[str, str] = result["failure"]
    return failure


def chosen(state: str, **variables: Any) -> str:
    """Returns where a Choice state goes."""
    for choice in STATES[state]["Choices"]:
        if evaluate(choice["Condition"], variables, {"context": CONTEXT}):
            return str(choice["Next"])
    return str(STATES[state]["Default"])


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"full_refresh": True},
        {"full_refresh": False},
        {"full_refresh": ["design"]},
        {"full_refresh": ["design", "staff"], "rebuild": True, "verify": True, "extracts": True},
    ],
)
def test_input_that_the_pipeline_knows_is_taken(value):
    variables = read_input(value)
    assert chosen("CheckInput", **variables) == "AcquireLock"
    assert variables["fullRefresh"] == value.get("full_refresh", False)
    assert variables["rebuild"] is value.get("rebuild", False)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"verfiy": True}, "verfiy"),
        ({"verify": True, "a": 1, "b": 2}, "a, b"),
        ({"verify": "yes"}, "verify"),
        ({"verify": None}, "verify"),
        ({"rebuild": 1}, "rebuild"),
        ({"extracts": []}, "extracts"),
        ({"full_refresh": "design"}, "full_refresh"),
        ({"full_refresh": []}, "full_refresh"),
        ({"full_refresh": ["design", 1]}, "full_refresh"),
        (["verify"], "not a JSON object"),
        ("verify", "not a JSON object"),
    ],
)
def test_other_input_is_refused_by_name(value, named):
    variables = read_input(value)
    assert chosen("CheckInput", **variables) == "RefuseInput"
    cause = evaluate(STATES["RefuseInput"]["Cause"], variables, {"input": value})
    assert named in cause.partition(". It takes")[0]


@given(st.dictionaries(st.text(min_size=1), st.booleans()))
def test_an_input_of_flags_is_taken_exactly_if_all_its_keys_are_known(value):
    known = set(value) <= {"full_refresh", "rebuild", "verify", "extracts"}
    assert (read_input(value)["refusal"] == "") == known


@pytest.mark.parametrize(
    ("sequence", "loaded_through", "rebuild", "has_work"),
    [(7, 6, False, True), (7, 7, False, False), (7, 7, True, True), (0, 0, True, False)],
)
def test_there_is_work_if_a_run_is_not_loaded_or_a_rebuild_is_wanted(
    sequence, loaded_through, rebuild, has_work
):
    assigned = evaluate(
        STATES["Ingest"]["Assign"],
        {"loadedThrough": loaded_through, "rebuild": rebuild},
        {"result": {"Payload": {**INGESTED, "sequence": sequence}}},
    )
    assert assigned["hasWork"] is has_work


@pytest.mark.parametrize(
    ("complete", "has_work", "verify", "following"),
    [
        (False, True, True, "Ingest"),
        (True, True, False, "Build"),
        (True, False, True, "Load"),
        (True, False, False, "ReleaseLock"),
    ],
)
def test_after_ingest_comes_what_is_needed(complete, has_work, verify, following):
    ingested = {**INGESTED, "complete": complete}
    assert following == chosen(
        "IsIngestComplete", ingested=ingested, hasWork=has_work, verify=verify
    )


@pytest.mark.parametrize(("complete", "following"), [(False, "Load"), (True, "ReleaseLock")])
def test_a_load_that_is_not_complete_goes_on_under_the_lock(complete, following):
    loaded = evaluate(STATES["Load"]["Assign"], {}, {"result": {"Payload": {"complete": complete}}})
    assert following == chosen("IsLoadComplete", **loaded)


def test_the_lock_remembers_through_which_run_the_warehouse_is_loaded():
    for attributes, through in (({}, 0), ({"loaded_through": {"N": "41"}}, 41)):
        states = {"result": {"Attributes": {"pipeline": {"S": "totesys"}, **attributes}}}
        assert evaluate(STATES["AcquireLock"]["Assign"], {}, states) == {"loadedThrough": through}


def test_a_load_is_told_in_a_sentence():
    result = output()
    assert result["status"] == "loaded"
    assert result["message"].startswith(
        "Run 7: 12,345 rows captured, 4,321 written to the warehouse. "
    )
    assert result["tables"] == LOADED["tables"]
    assert result["quality"] == LOADED["quality"]
    assert result["seconds"] > 0


def test_nothing_new_is_told_in_a_sentence():
    loaded = read_input({})["loaded"]
    result = output(hasWork=False, loaded=loaded)
    assert result["status"] == "nothing new"
    assert result["message"].startswith("Nothing new since run 6. ")
    assert result["rows"] == 0


def test_what_somebody_should_know_is_in_the_message():
    rules = [{"table": "fact_payment", "rule": "paid is given", "rows": 2}]
    message = output(
        verify=True,
        loaded={
            **LOADED,
            "facts_waiting": 3,
            "quality": {"rows_quarantined": 2, "broken_rules": rules},
            "verified": [{"table": "dim_design", "rows": 1}],
        },
        published={"failed": "DatabaseRefused: no"},
        ingested={**INGESTED, "warnings": ["table a is new", "table b is gone"]},
    )["message"]
    assert "3 facts wait for their dimension rows; 2 source rows broke a rule" in message
    assert "the warehouse equals the source" in message
    assert "publishing failed" in message
    assert "Warnings: table a is new; table b is gone" in message


def test_a_function_s_error_is_told_by_its_name_and_message():
    cause = json.dumps({"errorMessage": 'table "é"\nis gone', "errorType": "SourceSchemaChanged"})
    failure = explain("Ingest", {"Error": "SourceSchemaChanged", "Cause": cause})
    assert failure["error"] == "SourceSchemaChanged"
    assert failure["message"].startswith(
        'Ingest failed with SourceSchemaChanged: table "é"\nis gone. What to do: '
    )
    assert "run-7" in failure["message"]


@pytest.mark.parametrize(
    "prefix", ["", "Error Category: UNCLASSIFIED_ERROR; Failed Line Number: 9; "]
)
def test_a_job_s_error_is_told_by_the_name_in_its_message(prefix):
    run = {"Id": "jr_1", "ErrorMessage": f"{prefix}TableBuildFailed: dim_date: no dates"}
    failure = explain("Build", {"Error": "States.TaskFailed", "Cause": json.dumps(run)})
    assert failure["error"] == "TableBuildFailed"
    assert failure["message"].startswith("Build failed with TableBuildFailed: dim_date: no dates.")


def test_a_failing_maintenance_is_told_by_its_error_and_what_to_do():
    run = {"Id": "jr_1", "ErrorMessage": "TableMaintenanceFailed: 1 of 12 (dim_date: gone)"}
    failed = {"Error": "States.TaskFailed", "Cause": json.dumps(run)}
    failure = explain("Maintain", failed, MAINTENANCE)
    assert failure["error"] == "TableMaintenanceFailed"
    assert failure["message"].startswith(
        "Maintain failed with TableMaintenanceFailed: 1 of 12 (dim_date: gone). What to do: "
    )


def test_a_maintenance_is_told_with_the_job_run_whose_log_says_more():
    assigned = evaluate(MAINTENANCE["Maintain"]["Assign"], {}, {"result": {"Id": "jr_1"}})
    result = evaluate(MAINTENANCE["Succeed"]["Output"], assigned, {"context": CONTEXT})
    assert (result["status"], result["job_run"]) == ("maintained", "jr_1")
    assert "jr_1" in result["message"]
    assert result["seconds"] > 0


@pytest.mark.parametrize(
    "error_output", [{"Error": "States.Timeout"}, {"Error": "States.Timeout", "Cause": ""}]
)
def test_a_time_limit_is_told_though_it_has_no_cause(error_output):
    assert explain("Load", error_output)["message"].startswith(
        "Load failed with States.Timeout: it took longer than it may."
    )


CAUSES = st.text() | st.dictionaries(
    st.sampled_from(["errorMessage", "ErrorMessage", "x"]),
    st.text() | st.none() | st.integers() | st.lists(st.text()),
).map(json.dumps)


@given(st.text(max_size=300), CAUSES, st.integers(0, 50))
def test_any_failure_is_told_within_the_limits_of_a_fail_state(error, cause, cut):
    failure = explain("Build", {"Error": error, "Cause": cause[: len(cause) - cut]})
    assert len(failure["error"]) <= 256
    assert len(failure["message"]) <= 32768
    assert failure["message"].startswith("Build failed with ")


def test_a_very_long_cause_is_cut():
    assert len(explain("Load", {"Error": "E", "Cause": "x" * 40000})["message"]) < 5000
