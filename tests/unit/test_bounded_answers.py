"""The functions' answers are bounded for a source of any size."""

import json

import pytest

from lambdas.ingest import handler as ingest
from lambdas.ingest.ingest import IngestedTable, IngestResult
from lambdas.ingest.unbuilt import NOTHING, Unbuilt
from lambdas.load import handler as load
from lambdas.load.load import LoadResult
from lambdas.load.quality import BrokenRule, Quality
from lambdas.load.show import LoadedTable
from lambdas.load.verify import VerifiedTable
from pipeline.manifest import Capture
from pipeline.requests import IngestRequest
from star_schema.tables import star_tables

BOUND = 32 * 1024
TABLES = [f"{number:05d}" + "\N{SNOWMAN}" * 50 for number in range(10_000)]


def test_an_ingest_of_ten_thousand_tables_with_as_many_warnings_has_a_bounded_answer():
    result = IngestResult(
        complete=True,
        sequence=1,
        committed=True,
        rows=10**12,
        seconds=899.999,
        longest_query_seconds=599.999,
        scanned_bytes=10**15,
        tables=tuple(IngestedTable(name, Capture.NONE, 0, 0, "locked " * 99) for name in TABLES),
        fingerprints=None,
        warnings=tuple(f"table {name} is new" for name in TABLES),
    )

    request = IngestRequest("run", full_refresh=True, verify=True)
    many = Unbuilt(tuple(TABLES), 2, tuple(f"{name} cannot be built" for name in TABLES))
    answer = ingest.answer_of(request, result, star_tables(), many, "reports/run/ingest.json")

    assert (answer.tables, answer.tables_not_taken.count) == (10_000, 10_000)
    assert answer.warnings.count == 20_000
    assert answer.failure is not None
    assert len(json.dumps(answer.to_json())) <= BOUND


@pytest.mark.parametrize("complete", [False, True])
def test_only_a_complete_ingest_has_a_failure_so_that_the_execution_tells_it_once(complete):
    result = IngestResult(
        complete=complete,
        sequence=1,
        committed=complete,
        rows=0,
        seconds=1.0,
        longest_query_seconds=0.0,
        scanned_bytes=0,
        tables=(IngestedTable("payment", Capture.NONE, 0, 0, "no right to read it"),),
        fingerprints=None,
        warnings=(),
    )

    answer = ingest.answer_of(IngestRequest("run"), result, star_tables(), NOTHING, "")

    assert answer.tables_not_taken.first == ("payment",)
    assert (answer.failure is not None) is complete


def test_a_load_beside_a_hundred_thousand_refused_rows_has_a_bounded_answer():
    result = LoadResult(
        complete=True,
        sequence=1,
        rows=10**12,
        seconds=899.999,
        tables=tuple(LoadedTable(name, 10**9, 10**9) for name in TABLES),
        facts_waiting=100_000,
    )
    found = Quality(100_000, tuple(BrokenRule(name, "is given", 10) for name in TABLES))
    verified = [VerifiedTable(name, 10**9, 10**9, 0, 0) for name in TABLES]

    answer = load.answer_of(result, found, verified, None, "reports/run/load.json")

    assert (answer.rows_quarantined, answer.facts_waiting) == (100_000, 100_000)
    assert (answer.tables_verified, answer.broken_rules.count) == (10_000, 10_000)
    assert len(json.dumps(answer.to_json())) <= BOUND


def test_a_load_with_problems_in_every_table_has_a_bounded_failure():
    problems = tuple(f"{name}: {'é' * 1000}" for name in TABLES)
    result = LoadResult(complete=True, sequence=1, problems=problems)

    failure = load.failure_of(result)
    answer = load.answer_of(result, Quality(0, ()), None, failure, "reports/run/load.json")

    assert (failure and failure.error) == "StarSchemaMismatch"
    assert len(json.dumps(answer.to_json())) <= BOUND


@pytest.mark.parametrize(("through", "error"), [(7, None), (8, None), (6, "StarTablesBehind")])
def test_a_load_that_leaves_a_star_table_behind_has_a_failure(through, error):
    result = LoadResult(complete=True, sequence=7, through=through)

    failure = load.failure_of(result)

    assert (failure and failure.error) == error
