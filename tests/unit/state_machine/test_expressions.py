"""What the state machines say and decide, evaluated on examples."""

import dataclasses
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonata.jexception import JException

from pipeline.answers import Failure, IngestAnswer, LoadAnswer, Names, PublishAnswer
from pipeline.requests import IngestRequest, LoadRequest, PublishRequest
from tests.unit.state_machine.definition import (
    CONTEXT,
    MAINTENANCE,
    STATES,
    evaluate,
    walk,
)

BOUND = 32 * 1024
INGESTED = IngestAnswer(
    complete=True,
    sequence=7,
    committed=True,
    rows=12345,
    seconds=1.5,
    scanned_bytes=8192,
    longest_query_seconds=0.25,
    tables=11,
    report="reports/run-7/ingest.json",
)
LOADED = LoadAnswer(
    complete=True,
    sequence=7,
    through=7,
    rows=4321,
    seconds=2.5,
    report="reports/run-7/load.json",
)
PUBLISHED = PublishAnswer(0.5, message="All done.", report="reports/run-7/publish.json")
ARN = CONTEXT["Execution"]["Id"]


def read_input(value: Any) -> tuple[str, dict[str, Any]]:
    """Returns where an execution's input leads, and the variables that it sets."""
    variables: dict[str, Any] = {}
    state, _ = walk(STATES, "CheckInput", variables, value)
    return state, variables


def held(**changed: Any) -> dict[str, Any]:
    """Returns the variables of an execution that loaded and published a run."""
    return {
        **read_input({})[1],
        "loadedThrough": 6,
        "through": 7,
        "ingested": INGESTED.to_json(),
        "loaded": LOADED.to_json(),
        "published": PUBLISHED.to_json(),
        "hasWork": True,
        **changed,
    }


def output(**changed: Any) -> dict[str, Any]:
    """Returns the output of an execution that ended with the variables."""
    variables = held(**changed)
    assert walk(STATES, "Summarize", variables)[0] == "Succeed"
    result: dict[str, Any] = evaluate(STATES["Succeed"]["Output"], variables, {"context": CONTEXT})
    return result


def fail(
    *failures: dict[str, Any], states: dict[str, Any] = STATES, **changed: Any
) -> dict[str, str]:
    """Returns how an execution with the failures is notified of and ends."""
    start = next(name for name in ("ReadInput", "Begin") if name in states)
    variables: dict[str, Any] = {}
    walk(states, start, variables, {})
    variables |= {"failures": list(failures), **changed}
    assert walk(states, "Explain", variables)[0] == "Notify"
    message = evaluate(states["Notify"]["Arguments"]["Message"], variables, {"context": CONTEXT})
    end = {name: evaluate(states["Fail"][name], variables, {}) for name in ("Error", "Cause")}
    assert end["Cause"] == message
    return end


def caught(stage: str, error_output: Any, states: dict[str, Any] = STATES) -> list[Any]:
    """Returns the failures that a state has caught."""
    context = {**CONTEXT, "State": {"Name": stage}}
    held = {"errorOutput": error_output, "context": context}
    assigned = evaluate(states[stage]["Catch"][-1]["Assign"], {"failures": []}, held)
    failures: list[Any] = assigned["failures"]
    return failures


def chosen(state: str, **variables: Any) -> str:
    """Returns where a Choice state goes."""
    for choice in STATES[state]["Choices"]:
        if evaluate(choice["Condition"], variables, {"context": CONTEXT}):
            return str(choice["Next"])
    return str(STATES[state]["Default"])


def payload(state: str, **changed: Any) -> dict[str, Any]:
    """Returns what a function is invoked with, at its first attempt."""
    context = {**CONTEXT, "State": {"Name": state, "RetryCount": 0}}
    result: dict[str, Any] = evaluate(
        STATES[state]["Arguments"]["Payload"], held(**changed), {"context": context}
    )
    return result


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
    state, variables = read_input(value)
    assert state == "AcquireLock"
    assert variables["fullRefresh"] == value.get("full_refresh", False)
    for flag in ("rebuild", "verify", "extracts"):
        assert variables[flag] is value.get(flag, False)


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
        ({"full_refresh": None}, "full_refresh"),
        ({"full_refresh": []}, "full_refresh"),
        ({"full_refresh": ["design", 1]}, "full_refresh"),
        ({"full_refresh": [None]}, "full_refresh"),
        ({"full_refresh": [[]]}, "full_refresh"),
        ({"full_refresh": [["design"]]}, "full_refresh"),
        ({"full_refresh": ["design", None, []]}, "full_refresh"),
        ({"full_refresh": {"design": True}}, "full_refresh"),
        ({"full_refresh": ["design"] * 10_000}, "64 KiB"),
        ({"x" * 100_000: True}, "64 KiB"),
        (["verify"], "not a JSON object"),
        ("verify", "not a JSON object"),
    ],
)
def test_other_input_is_refused_by_name(value, named):
    state, variables = read_input(value)
    assert state == "TellOfFailure"
    assert evaluate(STATES["Fail"]["Error"], variables, {}) == "InvalidInput"
    cause = evaluate(STATES["Fail"]["Cause"], variables, {})
    assert named in cause.partition(". It takes")[0]
    assert len(cause) <= 32768
    payload = STATES["TellOfFailure"]["Arguments"]["Payload"]
    asked = evaluate(payload, variables, {"context": CONTEXT})
    failure = cause.removesuffix(" (page: s3://${ArtifactsBucket}/runs/run-7.html)")
    assert PublishRequest.from_json(asked) == PublishRequest("run-7", ARN, failure=failure)
    assert failure != cause


@given(st.dictionaries(st.text(min_size=1), st.booleans()))
def test_an_input_of_flags_is_taken_exactly_if_all_its_keys_are_known(value):
    known = set(value) <= {"full_refresh", "rebuild", "verify", "extracts"}
    assert (read_input(value)[0] == "AcquireLock") == known


def test_each_function_is_asked_what_its_request_declares():
    asked = payload("Ingest", fullRefresh=["design"], verify=True)
    assert IngestRequest.from_json(asked) == IngestRequest(
        "run-7", full_refresh=("design",), verify=True, loaded_through=6, is_last_attempt=False
    )
    assert IngestRequest.from_json(payload("Ingest", rebuild=True)).rebuild is True
    assert LoadRequest.from_json(payload("Load", rebuild=True)) == LoadRequest(
        "run-7", 7, rebuild=True, ingest_report=INGESTED.report
    )
    known = PublishRequest("run-7", ARN, INGESTED, LOADED, through=7, publishes=True, extracts=True)
    assert PublishRequest.from_json(payload("Publish", extracts=True)) == known
    assert PublishRequest.from_json(
        payload("TellOfFailure", ingested=None, loaded=None, through=0, message="Ingest failed. ")
    ) == PublishRequest("run-7", ARN, failure="Ingest failed. ")


@pytest.mark.parametrize(
    ("state", "request_type"),
    [
        ("Ingest", IngestRequest),
        ("Load", LoadRequest),
        ("Publish", PublishRequest),
        ("TellOfFailure", PublishRequest),
    ],
)
def test_a_request_states_every_field_that_is_declared(state, request_type):
    assert set(payload(state)) == {field.name for field in dataclasses.fields(request_type)}


@pytest.mark.parametrize(
    ("sequence", "loaded_through", "rebuild", "jobs", "has_work"),
    [
        (7, 6, False, 0, True),
        (7, 7, False, 0, False),
        (7, 7, False, 1, True),
        (7, 7, True, 0, True),
        (0, 0, True, 0, False),
    ],
)
def test_there_is_work_if_a_run_is_not_loaded_or_not_built_or_a_rebuild_is_wanted(
    sequence, loaded_through, rebuild, jobs, has_work
):
    answer = dataclasses.replace(INGESTED, sequence=sequence, build_jobs=jobs).to_json()
    assigned = evaluate(
        STATES["Ingest"]["Assign"],
        {"loadedThrough": loaded_through, "rebuild": rebuild, "failures": []},
        {"result": {"Payload": answer}},
    )
    assert assigned["hasWork"] is has_work


@pytest.mark.parametrize(
    ("complete", "jobs", "has_work", "verify", "following"),
    [
        (False, 0, True, True, "Ingest"),
        (True, 1, True, True, "BuildStar"),
        (True, 2, True, False, "Build"),
        (True, 0, True, False, "Load"),
        (True, 0, False, True, "Load"),
        (True, 0, False, False, "ReleaseLock"),
    ],
)
def test_after_ingest_comes_what_is_needed(complete, jobs, has_work, verify, following):
    ingested = dataclasses.replace(INGESTED, complete=complete, build_jobs=jobs).to_json()
    assert following == chosen(
        "IsIngestComplete", ingested=ingested, hasWork=has_work, verify=verify
    )


@pytest.mark.parametrize(("complete", "following"), [(False, "Load"), (True, "ReleaseLock")])
def test_a_load_that_is_not_complete_goes_on_under_the_lock(complete, following):
    answer = LoadAnswer(complete=complete, sequence=7, through=7 if complete else 0).to_json()
    loaded = evaluate(STATES["Load"]["Assign"], held(), {"result": {"Payload": answer}})
    assert following == chosen("IsLoadComplete", **loaded)


def test_the_lock_remembers_through_which_run_the_warehouse_is_loaded():
    for attributes, through in (({}, 0), ({"loaded_through": {"N": "41"}}, 41)):
        states = {"result": {"Attributes": {"pipeline": {"S": "totesys"}, **attributes}}}
        assigned = evaluate(STATES["AcquireLock"]["Assign"], {}, states)
        assert assigned == {"loadedThrough": through, "through": through}
    released = STATES["ReleaseLock"]["Arguments"]["ExpressionAttributeValues"]
    answer = dataclasses.replace(LOADED, through=5).to_json()
    assigned = evaluate(STATES["Load"]["Assign"], held(), {"result": {"Payload": answer}})
    assert evaluate(released, {**held(), **assigned}, {"context": CONTEXT}) == {
        ":me": {"S": ARN},
        ":through": {"N": "5"},
    }


def test_a_load_is_told_in_a_sentence_with_every_answer():
    result = output()
    assert result["status"] == "loaded"
    assert re.fullmatch(r"All done\. [0-9.]+ s\.", result["message"])
    assert result["seconds"] > 0
    assert IngestAnswer.from_json(result["ingested"]) == INGESTED
    assert LoadAnswer.from_json(result["loaded"]) == LOADED
    assert PublishAnswer.from_json(result["published"]) == PUBLISHED


def test_nothing_new_is_a_status_of_its_own():
    assert output(hasWork=False, loaded=None)["status"] == "nothing new"


@pytest.mark.parametrize(
    ("has_work", "told"), [(True, "Run 7 is loaded; "), (False, "Nothing new since run 6; ")]
)
def test_a_failed_publication_is_told_where_it_has_no_message(has_work, told):
    failed = {"failed": "DatabaseRefused: no"}
    message = output(hasWork=has_work, published=failed)["message"]
    assert message.startswith(f"{told}publishing failed. ")


def test_the_output_is_bounded_whatever_the_answers_list():
    many = Names.of("\x01" * 20_000 for _ in range(10_000))
    result = output(
        ingested=dataclasses.replace(
            INGESTED, tables_not_taken=many, unbuilt=many, warnings=many
        ).to_json(),
        loaded=dataclasses.replace(LOADED, broken_rules=many).to_json(),
        published=dataclasses.replace(PUBLISHED, extracts=many, message="\x01" * 100_000).to_json(),
    )
    assert len(json.dumps(result)) <= 2 * BOUND


def test_a_function_s_error_is_told_by_its_name_and_message():
    cause = json.dumps({"errorMessage": 'table "é"\nis gone', "errorType": "SourceSchemaChanged"})
    end = fail(*caught("Ingest", {"Error": "SourceSchemaChanged", "Cause": cause}))
    assert end["Error"] == "SourceSchemaChanged"
    assert end["Cause"].startswith(
        'Ingest failed with SourceSchemaChanged: table "é"\nis gone. Fix the cause '
    )
    assert "run-7" in end["Cause"]


@pytest.mark.parametrize(
    "prefix", ["", "Error Category: UNCLASSIFIED_ERROR; Failed Line Number: 9; "]
)
def test_a_job_s_error_is_told_by_the_name_in_its_message(prefix):
    run = {"Id": "jr_1", "ErrorMessage": f"{prefix}TableBuildFailed: dim_date: no dates"}
    end = fail(*caught("Build", {"Error": "States.TaskFailed", "Cause": json.dumps(run)}))
    assert end["Error"] == "TableBuildFailed"
    assert end["Cause"].startswith("Build failed with TableBuildFailed: dim_date: no dates. ")


def test_a_branch_that_fails_leaves_the_other_and_the_load_and_is_told_after_them():
    def ended(branch: dict[str, Any], failed: bool) -> Any:
        job = branch["States"][branch["StartAt"]]
        if not failed:
            return evaluate(job["Output"], {}, {"result": {"Id": "jr_1"}})
        (catch,) = job["Catch"]
        run = {"ErrorMessage": f"TableBuildFailed: {branch['StartAt']}: no dates"}
        error = {"Error": "States.TaskFailed", "Cause": json.dumps(run)}
        context = {**CONTEXT, "State": {"Name": branch["StartAt"]}}
        output = evaluate(catch["Output"], {}, {"errorOutput": error, "context": context})
        return walk(branch["States"], catch["Next"], {}, output)[1]

    build = STATES["Build"]
    assert build["Next"] == "Load"
    for outcomes in ((False, False), (True, False), (False, True), (True, True)):
        both = zip(build["Branches"], outcomes, strict=True)
        result = [ended(branch, failed) for branch, failed in both]
        failures = evaluate(build["Assign"], {"failures": []}, {"result": result})["failures"]
        assert len(failures) == sum(outcomes)
        if failures:
            end = fail(*failures)
            assert end["Error"] == "TableBuildFailed"
            for failure in failures:
                stage = failure["stage"]
                told = f"{stage} failed with TableBuildFailed: {stage}: no dates. "
                assert told in end["Cause"]


def test_a_failing_maintenance_is_told_by_its_error_and_what_to_do():
    run = {"Id": "jr_1", "ErrorMessage": "TableMaintenanceFailed: 1 of 12 (dim_date: gone)"}
    failed = {"Error": "States.TaskFailed", "Cause": json.dumps(run)}
    end = fail(*caught("Maintain", failed, MAINTENANCE), states=MAINTENANCE)
    assert end["Error"] == "TableMaintenanceFailed"
    assert end["Cause"].startswith(
        "Maintain failed with TableMaintenanceFailed: 1 of 12 (dim_date: gone). Fix the cause "
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
    assert fail(*caught("Load", error_output))["Cause"].startswith(
        "Load failed with States.Timeout: it exceeded its time limit. "
    )


@pytest.mark.parametrize(
    "cause",
    ["{", '{"errorMessage": "cut o', "{not JSON}", '{"errorMessage": 1}', "[1]", "null", "{}"],
)
def test_a_cause_that_looks_like_json_and_is_none_is_told_as_it_is(cause):
    end = fail(*caught("Load", {"Error": "Lambda.Unknown", "Cause": cause}))
    assert end["Error"] == "Lambda.Unknown"
    assert end["Cause"].startswith(f"Load failed with Lambda.Unknown: {cause}. ")


@pytest.mark.parametrize("error_output", [{}, {"Error": None}, {"Cause": 5}, {"Error": {"a": 1}}])
def test_an_error_of_any_shape_is_told(error_output):
    assert fail(*caught("Load", error_output))["Cause"].startswith("Load failed with ")


@pytest.mark.parametrize("state", ["Ingest", "Load"])
def test_an_answer_s_failure_fails_the_execution_after_everything_else(state):
    answer: Any = {"Ingest": INGESTED, "Load": LOADED}[state]
    failed = dataclasses.replace(answer, failure=Failure("TablesNotTaken", "a: no right")).to_json()
    context = {**CONTEXT, "State": {"Name": state}}
    answered = {"result": {"Payload": failed}, "context": context}
    variables = {**held(), **evaluate(STATES[state]["Assign"], held(), answered)}
    assert chosen("HasAnythingFailed", failures=[]) == "Summarize"
    assert walk(STATES, "HasAnythingFailed", variables)[0] == "Notify"
    assert variables["firstError"] == "TablesNotTaken"
    assert variables["message"] == f"{state} failed with TablesNotTaken: a: no right. "


def test_nothing_is_proved_where_a_table_was_not_taken():
    not_taken = dataclasses.replace(INGESTED, tables_not_taken=Names.of(["a"])).to_json()
    assert payload("Load", verify=True)["verify"] is True
    assert payload("Load", verify=True, ingested=not_taken)["verify"] is False


@pytest.mark.parametrize("redrives", [1, 2])
def test_a_redriven_execution_does_nothing_that_needs_the_lock(redrives):
    redriven = {**CONTEXT["Execution"], "RedriveCount": redrives}
    context = {"Execution": redriven, "State": {"Name": "x", "RetryCount": 0}}
    build = STATES["Build"]["Branches"]
    for state in (
        STATES["Ingest"],
        STATES["Load"],
        MAINTENANCE["Maintain"],
        *(branch["States"][branch["StartAt"]] for branch in build),
    ):
        with pytest.raises(JException, match="does not hold the lock; start a new one"):
            evaluate(state["Arguments"], held(), {"context": context})


def test_every_failure_is_told_and_the_first_names_the_execution_s_error():
    first = {"stage": "BuildDimensions", "Error": "A", "Cause": "a"}
    second = {"stage": "Load", "Error": "B", "Cause": '{"errorMessage": "b"}'}
    end = fail(first, second)
    assert end["Error"] == "A"
    assert end["Cause"].startswith("BuildDimensions failed with A: a. Load failed with B: b. Fix ")


CAUSES = st.text() | st.dictionaries(
    st.sampled_from(["errorMessage", "ErrorMessage", "x"]),
    st.text() | st.none() | st.integers() | st.lists(st.text()),
).map(json.dumps)


@given(st.text(max_size=300), CAUSES, st.integers(0, 50))
def test_any_failure_is_told_within_the_limits_of_a_fail_state(error, cause, cut):
    failed = {"Error": error, "Cause": cause[: len(cause) - cut]}
    end = fail(*caught("Build", failed))
    assert len(end["Error"]) <= 256
    assert end["Cause"].startswith("Build failed with ")


def test_a_very_long_message_is_bounded_however_many_failures_there_are():
    failures = [
        {"stage": f"S{number}", "Error": "E" * 999, "Cause": "x" * 40000} for number in range(6)
    ]
    assert len(fail(*failures)["Cause"]) <= 32768
