"""The Load function, called as AWS Lambda calls it."""

import dataclasses
import functools
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from lambdas.load.handler import handler
from lambdas.load.load import load
from lambdas.load.migrations import migrations
from pipeline.answers import LoadAnswer, Names
from pipeline.certificate import Certificate
from pipeline.errors import RunConflict, StarSchemaMismatch, WarehouseUnavailable
from pipeline.manifest import ManifestStore, key_of
from pipeline.reports import Reports
from tests.fixtures.lake import DIMENSIONS, STAR, StarLake
from tests.integration.load.conftest import IN_STEPS
from tests.integration.load.invocation import Context, put_secret
from tests.integration.load.runs import SOURCES, commit_run
from tests.integration.load.source import MadeUpSource

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Verification = Callable[[list[dict[str, Any]] | None], dict[str, Any]]


@pytest.fixture
def deployed(
    star_lake: StarLake,
    warehouse_dsn: str,
    raw_bucket: str,
    s3: "S3Client",
    monkeypatch: pytest.MonkeyPatch,
) -> StarLake:
    """A lake of one row in every table, with its run and an empty one, and the environment."""
    for sequence in (1, 2):
        commit_run(ManifestStore(raw_bucket, s3), sequence, dict.fromkeys(SOURCES, 1))
    star_lake.add_dimensions(*DIMENSIONS)
    for table in STAR:
        if table.startswith("fact_"):
            star_lake.add_star_rows(table, {})
    monkeypatch.setenv("WAREHOUSE_SECRET_ARN", put_secret(warehouse_dsn))
    monkeypatch.setenv("GLUE_DATABASE", star_lake.lake.database)
    monkeypatch.setenv("RAW_BUCKET", raw_bucket)
    monkeypatch.setenv("DATABASE_SSL_MODE", "disable")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "ToteSys/test")
    return star_lake


@pytest.fixture
def reports(raw_bucket: str, s3: "S3Client") -> Reports:
    """The reports in the raw bucket."""
    return Reports(raw_bucket, s3)


@pytest.fixture
def fingerprints(raw_bucket: str, s3: "S3Client") -> list[dict[str, Any]]:
    """What Ingest reports of a source that makes the lake's rows."""
    source = MadeUpSource(raw_bucket, s3)
    source.makes_one_row(*STAR)
    return [dataclasses.asdict(one) for one in source.tables.values()]


@pytest.fixture
def verification(reports: Reports) -> Verification:
    """Gives the event of a verified load, after an ingest that made the fingerprints."""

    def event(fingerprints: list[dict[str, Any]] | None) -> dict[str, Any]:
        key = reports.write(
            "run-1", "ingest", {"fingerprints": fingerprints, "snapshot_at": "2026-01-31T09:30:00Z"}
        )
        return {"run_id": "run-1", "sequence": 1, "verify": True, "ingest_report": key}

    return event


def test_a_run_is_loaded_and_verified_and_reported(
    deployed: StarLake,
    fingerprints: list[dict[str, Any]],
    verification: Verification,
    reports: Reports,
    warehouse_dsn: str,
) -> None:
    answer = LoadAnswer.from_json(handler(verification(fingerprints), Context()))

    assert answer.seconds >= 0
    assert dataclasses.replace(answer, seconds=0.0) == LoadAnswer(
        complete=True,
        sequence=1,
        through=1,
        rows=11,
        tables_verified=11,
        report="reports/run-1/load.json",
    )
    report = reports.read(answer.report)
    assert {table["table"] for table in report["tables"]} == set(STAR)
    proved = {"rows": 1, "versions": 1, "rows_quarantined": 0, "waiting": 0}
    (payment,) = (one for one in report["verified"] if one["table"] == "fact_payment")
    assert payment.items() >= proved.items()
    certificate = Certificate.from_json(json.dumps(report["certificate"]))
    assert (certificate.sequence, certificate.snapshot_at) == (1, "2026-01-31T09:30:00Z")
    assert {table.table for table in certificate.tables} == set(STAR)
    assert list(certificate.schema) == [step.name for step in migrations()]
    assert re.fullmatch("[0-9a-f]{64}", certificate.code["sha256"])
    with psycopg.connect(warehouse_dsn) as connection:
        assert connection.execute("select count(*) from fact_payment").fetchone() == (1,)


def test_what_is_missing_is_counted_by_rule_in_the_report_and_in_the_metrics(
    deployed: StarLake, reports: Reports, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed.add(
        "quarantine",
        malformed("1", "not kept: payment_date is a date, YYYY-MM-DD; not kept: paid is given"),
        malformed("2", "not kept: paid is given"),
    )
    deployed.add_star_rows(
        "fact_payment", {"payment_record_id": 2, "transaction_id": 7, "currency_id": 8}
    )

    answer = LoadAnswer.from_json(handler({"run_id": "run-1", "sequence": 1}, Context()))

    rules = [
        ("dim_currency has no currency_id", 1),
        ("dim_transaction has no transaction_id", 1),
        ("paid is given", 2),
        ("payment_date is a date, YYYY-MM-DD", 1),
    ]
    assert (answer.rows_quarantined, answer.facts_waiting) == (2, 1)
    assert answer.broken_rules == Names.of(f"fact_payment: {rule} ({rows})" for rule, rows in rules)
    assert reports.read(answer.report)["quality"] == {
        "rows_quarantined": 2,
        "broken_rules": [
            {"table": "fact_payment", "rule": rule, "rows": rows} for rule, rows in rules
        ],
        "failure": None,
    }
    wanted: dict[tuple[str, ...], float] = {
        ("RowsBreakingRule", "load", "fact_payment", rule): rows for rule, rows in rules
    }
    wanted |= {("RowsQuarantined", "load"): 2, ("FactsWaiting", "load"): 1}
    wanted |= {("DimensionRowsWaiting", "load"): 0}
    assert metrics(capsys.readouterr().out) == wanted


def test_what_an_earlier_run_put_aside_is_not_counted_again(deployed: StarLake) -> None:
    deployed.add("quarantine", malformed("1", "not kept: paid is given"))
    handler({"run_id": "run-1", "sequence": 1}, Context())

    answer = handler({"run_id": "run-2", "sequence": 2}, Context())

    assert answer["rows_quarantined"] == 0
    assert answer["broken_rules"] == {"count": 0, "first": []}


NO_ICEBERG = {"classification": "csv"}
NO_FILE = {"table_type": "ICEBERG", "metadata_location": "s3://templates/gone.metadata.json"}


@pytest.mark.parametrize("parameters", [NO_ICEBERG, {"table_type": "ICEBERG"}, NO_FILE])
def test_a_quarantine_that_cannot_be_read_costs_its_counts_alone(
    deployed: StarLake, raw_bucket: str, parameters: dict[str, str]
) -> None:
    held = {name: text.replace("templates", raw_bucket) for name, text in parameters.items()}
    deployed.glue.create_table(
        DatabaseName=deployed.lake.database,
        TableInput={"Name": "quarantine", "Parameters": held},
    )

    answer = LoadAnswer.from_json(handler({"run_id": "run-1", "sequence": 1}, Context()))

    assert_loaded_without_counts(answer)


def test_a_quarantine_whose_columns_others_renamed_costs_its_counts_alone(
    deployed: StarLake,
) -> None:
    deployed.add("quarantine", malformed("1", "not kept: paid is given"))
    with deployed.table("quarantine").update_schema() as update:
        update.rename_column("reason", "motive")
        update.rename_column("broken_rules", "rules")

    answer = LoadAnswer.from_json(handler({"run_id": "run-1", "sequence": 1}, Context()))

    assert_loaded_without_counts(answer)


def assert_loaded_without_counts(answer: LoadAnswer) -> None:
    assert answer.failure is not None
    assert answer.failure.error == "StarSchemaMismatch"
    assert answer.failure.cause.startswith("the star tables are loaded, but")
    assert "quarantine of the" in answer.failure.cause
    assert (answer.through, answer.rows, answer.rows_quarantined) == (1, 11, 0)


def malformed(key: str, reason: str) -> dict[str, object]:
    return {
        "star_table": "fact_payment",
        "natural_key": key,
        "reason": reason,
        "source_row": "{}",
        "run_id": "run-1",
        "_sequence": 1,
    }


def metrics(printed: str) -> dict[tuple[str, ...], float]:
    """Returns the values of what was printed in the embedded metric format, by its dimensions."""
    found: dict[tuple[str, ...], float] = {}
    for line in printed.splitlines():
        held = json.loads(line)
        for declared in held.get("_aws", {}).get("CloudWatchMetrics", []):
            assert declared["Namespace"] == "ToteSys/test"
            (name,) = (metric["Name"] for metric in declared["Metrics"])
            (dimensions,) = declared["Dimensions"]
            found[name, *(held[dimension] for dimension in dimensions)] = held[name][0]
    return found


def test_runs_that_are_loaded_together_are_recorded_with_their_instants(
    deployed: StarLake, warehouse_dsn: str
) -> None:
    handler({"run_id": "run-2", "sequence": 2}, Context())

    with psycopg.connect(warehouse_dsn) as connection:
        runs = connection.execute("select sequence, run_id from captured_run order by 1")
        assert runs.fetchall() == [(1, "run-1"), (2, "run-2")]


def test_a_raw_zone_with_other_runs_than_those_loaded_is_refused_but_by_a_rebuild(
    deployed: StarLake, raw_bucket: str, s3: "S3Client"
) -> None:
    handler({"run_id": "run-1", "sequence": 1}, Context())
    other = dataclasses.replace(ManifestStore(raw_bucket, s3).read(1), run_id="another")
    s3.put_object(Bucket=raw_bucket, Key=key_of(1), Body=other.to_json().encode())

    with pytest.raises(StarSchemaMismatch, match=r"run 1 of execution run-1, .* another"):
        handler({"run_id": "run-2", "sequence": 2}, Context())

    assert handler({"run_id": "run-2", "sequence": 2, "rebuild": True}, Context())["through"] == 2
    assert handler({"run_id": "run-2", "sequence": 2}, Context())["through"] == 2


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_load_that_another_execution_has_overtaken_gives_way(
    deployed: StarLake, warehouse_dsn: str, rebuild: bool
) -> None:
    deployed.add_star_rows("fact_payment", {"payment_record_id": 2}, sequence=2)
    handler({"run_id": "run-2", "sequence": 2}, Context())

    with pytest.raises(RunConflict, match=r"through run 2, and this load of run 1 is late"):
        handler({"run_id": "run-1", "sequence": 1, "rebuild": rebuild}, Context())

    with psycopg.connect(warehouse_dsn) as connection:
        assert connection.execute("select count(*) from fact_payment").fetchone() == (2,)
        assert connection.execute("select min(sequence) from load_position").fetchone() == (2,)
        runs = connection.execute("select sequence from captured_run order by 1")
        assert runs.fetchall() == [(1,), (2,)]


def test_a_rebuild_takes_back_the_runs_that_the_raw_zone_has_lost(
    deployed: StarLake, raw_bucket: str, s3: "S3Client"
) -> None:
    handler({"run_id": "run-2", "sequence": 2}, Context())
    s3.delete_object(Bucket=raw_bucket, Key=key_of(2))

    answer = handler({"run_id": "again", "sequence": 1, "rebuild": True}, Context())

    assert answer["through"] == 1


def test_verified_is_null_where_it_was_not_asked_for(deployed: StarLake) -> None:
    answer = handler({"run_id": "run-1", "sequence": 1}, Context())

    assert answer["tables_verified"] is None


def test_a_difference_is_a_failure_of_a_load_that_stands(
    deployed: StarLake,
    fingerprints: list[dict[str, Any]],
    verification: Verification,
    warehouse_dsn: str,
) -> None:
    others = [one for one in fingerprints if one["table"] != "fact_payment"]
    none = {"table": "fact_payment", "failure": "", "is_cumulative": False, "files": []}
    (columns,) = (one["columns"] for one in fingerprints if one["table"] == "fact_payment")
    event = verification([*others, {**none, "columns": columns}])

    failure = LoadAnswer.from_json(handler(event, Context())).failure

    assert failure is not None
    assert failure.error == "VerificationFailed"
    assert "source/star fact_payment: payment_id 1 is extra" in failure.cause
    with psycopg.connect(warehouse_dsn) as connection:
        assert connection.execute("select count(*) from pipeline_run").fetchone() == (1,)


def test_a_run_whose_instant_somebody_changed_is_a_difference(
    deployed: StarLake,
    fingerprints: list[dict[str, Any]],
    verification: Verification,
    warehouse_dsn: str,
) -> None:
    handler({"run_id": "run-1", "sequence": 1}, Context())
    with psycopg.connect(warehouse_dsn, autocommit=True) as connection:
        connection.execute("update captured_run set snapshot_at = now()")

    failure = LoadAnswer.from_json(handler(verification(fingerprints), Context())).failure

    assert failure is not None
    assert "run `delete from captured_run where sequence in (1)`" in failure.cause


def test_a_run_that_cannot_be_verified_is_a_failure_of_a_load_that_stands(
    deployed: StarLake, verification: Verification, warehouse_dsn: str
) -> None:
    answer = LoadAnswer.from_json(handler(verification(None), Context()))

    assert (answer.through, answer.tables_verified) == (1, None)
    assert answer.failure is not None
    assert "run 1 is loaded, but" in answer.failure.cause
    with psycopg.connect(warehouse_dsn) as connection:
        assert connection.execute("select count(*) from pipeline_run").fetchone() == (1,)


def test_nothing_is_verified_before_the_load_is_complete(
    deployed: StarLake,
    fingerprints: list[dict[str, Any]],
    verification: Verification,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_steps = functools.partial(load, pace=IN_STEPS)
    monkeypatch.setattr("lambdas.load.handler.load", in_steps)
    event = verification(fingerprints)

    answers = [handler(event, Context()) for _ in range(2)]

    assert [(one["complete"], one["rows"], one["tables_verified"]) for one in answers] == [
        (False, 0, None),
        (True, 11, 11),
    ]


def test_a_table_that_cannot_be_loaded_is_a_failure_beside_the_others(
    deployed: StarLake, verification: Verification, warehouse_dsn: str
) -> None:
    with psycopg.connect(warehouse_dsn, autocommit=True) as connection:
        handler({"run_id": "run-1", "sequence": 1}, Context())
        connection.execute("alter table dim_currency drop column currency_name")

    answer = LoadAnswer.from_json(handler(verification([]) | {"sequence": 2}, Context()))

    assert (answer.complete, answer.through, answer.tables_verified) == (True, 1, None)
    assert answer.failure is not None
    assert answer.failure.error == "StarSchemaMismatch"
    assert "1 of 11 star tables were not loaded" in answer.failure.cause


def test_a_warehouse_that_cannot_be_reached_is_worth_a_retry(
    deployed: StarLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret_arn = put_secret("postgresql://user:password@127.0.0.1:1/warehouse")
    monkeypatch.setenv("WAREHOUSE_SECRET_ARN", secret_arn)

    with pytest.raises(WarehouseUnavailable):
        handler({"run_id": "run-1", "sequence": 1}, Context())
