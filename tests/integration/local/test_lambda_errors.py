"""A function's exception reaches the state machine by its class's name."""

import json

import pytest


def failed(run_machine, function):
    """Returns the execution of a state that invokes the function."""
    return run_machine(
        {
            "Try": {
                "Type": "Task",
                "Resource": "arn:aws:states:::lambda:invoke",
                "Arguments": {"FunctionName": function, "Payload": {}},
                "End": True,
            }
        }
    )


@pytest.mark.parametrize(
    ("raised", "name", "message"),
    [
        ("errors.SourceBusy('a lock took too long')", "SourceBusy", "a lock took too long"),
        ("errors.SourceBusy('two lines\\nDETAIL: more')", "SourceBusy", "DETAIL: more"),
        ("errors.SourceBusy()", "SourceBusy", ""),
        ("KeyError('design')", "KeyError", "design"),
        ("errors.SourceBusy('busy') from OSError('the reason')", "SourceBusy", "busy"),
    ],
)
def test_an_exception_is_named_by_its_class(run_machine, new_function, raised, name, message):
    source = f"import errors\ndef handler(event, context):\n    raise {raised}\n"
    function = new_function(source, errors="class SourceBusy(Exception): pass\n")

    done = failed(run_machine, function)

    assert (done.status, done.error) == ("FAILED", name)
    cause = json.loads(done.cause)
    assert cause["errorType"] == name
    assert message in cause["errorMessage"]


def test_an_exception_raised_while_handling_another_is_the_one_that_is_named(
    run_machine, new_function
):
    function = new_function("""
        def handler(event, context):
            try:
                {}["a"]
            except KeyError:
                raise ValueError("b")
        """)
    assert failed(run_machine, function).error == "ValueError"
