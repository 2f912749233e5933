"""What passes between the state machine and the functions: declared, exact and bounded."""

import json

import pytest

from pipeline.answers import Failure, IngestAnswer, LoadAnswer, Names, PublishAnswer
from pipeline.errors import InvalidInput
from pipeline.requests import IngestRequest, LoadRequest, PublishRequest

BOUND = 32 * 1024
HOSTILE = ["\x01" * 20_000, "\N{PILE OF POO}" * 20_000, '"' * 20_000, "plain " * 5_000]
"""Texts that grow when they become JSON."""


def test_a_request_is_read_from_the_payload_of_an_invocation():
    payload = {"run_id": "r", "full_refresh": ["design", "staff"], "loaded_through": 3}
    assert IngestRequest.from_json(payload) == IngestRequest(
        "r", full_refresh=("design", "staff"), loaded_through=3
    )
    assert IngestRequest.from_json({"run_id": "r", "full_refresh": True}).full_refresh is True
    assert LoadRequest.from_json({"run_id": "r", "sequence": 7}) == LoadRequest("r", 7)
    assert PublishRequest.from_json({"run_id": "r", "execution": "e"}).extracts is False
    answer = LoadAnswer(complete=True, sequence=7, through=7)
    asked = {"run_id": "r", "execution": "e", "ingested": None, "loaded": answer.to_json()}
    assert PublishRequest.from_json(asked) == PublishRequest("r", "e", loaded=answer)


@pytest.mark.parametrize("request_type", [IngestRequest, LoadRequest, PublishRequest])
@pytest.mark.parametrize("payload", [{}, {"run_id": "r", "sequence": 1, "verfiy": True}])
def test_a_payload_that_is_no_request_is_refused(request_type, payload):
    with pytest.raises(InvalidInput, match=request_type.__name__):
        request_type.from_json(payload)


@pytest.mark.parametrize(
    "answer",
    [
        IngestAnswer(
            complete=True,
            sequence=2,
            committed=True,
            rows=3,
            seconds=0.5,
            scanned_bytes=8192,
            longest_query_seconds=0.1,
            tables=2,
            tables_not_taken=Names.of(["a"]),
            failure=Failure("TablesNotTaken", "a: permission denied"),
            warnings=Names.of(["table b is new", "table c is gone"]),
            report="reports/r/ingest.json",
        ),
        LoadAnswer(complete=True, sequence=2, through=1, tables_verified=11),
        PublishAnswer(0.5, extracts=Names.of(["s3://b/extracts/a.csv"])),
    ],
)
def test_an_answer_passes_through_json_unchanged(answer):
    assert type(answer).from_json(json.loads(json.dumps(answer.to_json()))) == answer


def test_a_list_has_its_first_names_and_the_number_of_all():
    names = Names.of(f"table_{number}" for number in range(10_000))
    assert names.count == 10_000
    assert names.first[0] == "table_0"
    assert len(names.first) == 20


@pytest.mark.parametrize("text", HOSTILE)
def test_an_answer_is_bounded_whatever_its_lists_hold(text):
    many = Names.of(text for _ in range(10_000))
    ingested = IngestAnswer(
        complete=True,
        sequence=10**9,
        committed=True,
        rows=10**12,
        seconds=899.999,
        scanned_bytes=10**15,
        longest_query_seconds=599.999,
        tables=10_000,
        tables_not_taken=many,
        failure=Failure("TablesNotTaken", text),
        warnings=many,
        report="reports/r/ingest.json",
    )
    loaded = LoadAnswer(complete=True, sequence=1, through=1, broken_rules=many)
    for answer in (ingested, loaded, PublishAnswer(0.5, extracts=many)):
        assert len(json.dumps(answer.to_json())) <= BOUND
