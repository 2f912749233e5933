"""Positions: each star table is loaded as far as it is built, and catches up by itself."""

from collections import defaultdict

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambdas.load.lake import Lake
from lambdas.load.load import load
from lambdas.load.pace import Pace
from lambdas.load.quality import quality
from pipeline.errors import StarSchemaMismatch
from pipeline.requests import LoadRequest
from star_schema.tables import StarTable
from tests.fixtures.lake import PAYMENT_DIMENSIONS, StarLake
from tests.integration.load.conftest import AT_ONCE, IN_STEPS, LoadThrough

CURRENCY, TRANSACTION, PAYMENT = "dim_currency", "dim_transaction", "fact_payment"


class Sources:
    """The manifests' word on when the sources of each star table changed."""

    def __init__(self, **runs: list[int]) -> None:
        self.runs: dict[str, list[int]] = defaultdict(list, runs)

    def changed(self, star: StarTable, after: int, through: int) -> bool:
        return any(after < run <= through for run in self.runs[star.name])


def positions(connection: psycopg.Connection) -> dict[str, int]:
    return dict(connection.execute("select table_name, sequence from load_position").fetchall())


def keys(connection: psycopg.Connection, table: str, key: str) -> list[int]:
    rows = connection.execute(f"select {key} from {table} order by 1".encode())
    return [row[0] for row in rows]


@pytest.mark.parametrize("pace", [AT_ONCE, IN_STEPS], ids=["at once", "in steps"], indirect=True)
def test_a_table_that_is_built_late_catches_up_and_costs_no_other(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    sources = Sources(dim_currency=[1, 2, 3], fact_payment=[1, 3])
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows(PAYMENT, {})
    assert load_through(1, changed=sources.changed).through == 1
    # The build of dim_currency fails from run 2 on; that of the others goes on.
    star_lake.add_star_rows(PAYMENT, {"payment_record_id": 3}, sequence=3)
    star_lake.add_star_rows(TRANSACTION, {"transaction_id": 3}, sequence=3)

    behind = load_through(3, changed=sources.changed)

    assert (behind.complete, behind.sequence, behind.through, behind.rows) == (True, 3, 1, 2)
    assert positions(warehouse)[CURRENCY] == 1
    assert positions(warehouse)[PAYMENT] == positions(warehouse)[TRANSACTION] == 3
    star_lake.add_star_rows(CURRENCY, {"currency_id": 2}, sequence=2)
    star_lake.add_star_rows(CURRENCY, {"currency_id": 3}, sequence=3)

    caught_up = load_through(3, changed=sources.changed)

    assert (caught_up.through, caught_up.rows) == (3, 2)
    assert keys(warehouse, CURRENCY, "currency_id") == [1, 2, 3]
    assert set(positions(warehouse).values()) == {3}
    run = warehouse.execute(
        "select run_id, tables -> 'dim_currency', tables -> 'fact_payment' "
        "from pipeline_run where sequence = 3"
    ).fetchone()
    assert run == (
        "run-3",
        {"inserted": 2, "updated": 0, "after": 1, "through": 3, "run_id": "run-3"},
        {"inserted": 1, "updated": 0, "after": 1, "through": 3, "run_id": "run-3"},
    )


def test_a_star_table_that_no_build_has_made_yet_starts_from_its_first_run(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    sources = Sources(fact_payment=[1], dim_currency=[1])
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)

    assert load_through(5, changed=sources.changed).through == 0
    assert positions(warehouse)[PAYMENT] == 0
    star_lake.add_star_rows(PAYMENT, {})

    assert load_through(5, changed=sources.changed).through == 5
    assert keys(warehouse, PAYMENT, "payment_record_id") == [1]


def test_a_fact_waits_for_a_dimension_that_is_behind_and_arrives_with_it(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    sources = Sources(dim_transaction=[1, 2])
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows(PAYMENT, {"transaction_id": 7}, sequence=2)
    assert load_through(2, changed=sources.changed).facts_waiting == 1
    star_lake.add_star_rows(TRANSACTION, {"transaction_id": 7}, sequence=2)

    result = load_through(2, changed=sources.changed)

    assert (result.facts_waiting, result.through) == (0, 2)
    assert keys(warehouse, PAYMENT, "payment_record_id") == [1]


def test_a_quarantined_row_counts_in_the_load_that_brings_its_table_through_its_run(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    sources = Sources(fact_payment=[1, 2])
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    star_lake.add_star_rows(PAYMENT, {})
    load_through(1, changed=sources.changed)
    star_lake.add(
        "quarantine",
        {
            "star_table": PAYMENT,
            "natural_key": "2",
            "reason": "not kept: paid is given",
            "source_row": "{}",
            "run_id": "run-2",
            "_sequence": 2,
        },
    )

    def counted(sequence: int, run_id: str = "") -> int:
        run_id = run_id or f"run-{sequence}"
        load_through(sequence, changed=sources.changed, run_id=run_id)
        request = LoadRequest(run_id, sequence)
        return quality(warehouse, star_lake.lake, request).rows_quarantined

    assert [counted(2), counted(3)] == [0, 0]
    star_lake.add_star_rows(PAYMENT, {"payment_record_id": 2}, sequence=2)
    # The second is the same execution, whose first answer was lost.
    assert [counted(3, "later"), counted(3, "later")] == [1, 1]
    assert [counted(3), counted(3, "latest"), counted(4)] == [0, 0, 0]


def test_an_installed_warehouse_starts_every_table_at_its_newest_run(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    star_lake.add_star_rows(CURRENCY, {}, {"currency_id": 2})
    load_through(1)
    warehouse.execute("delete from schema_migration where name ~ '^000[589]'")
    warehouse.execute(
        "drop table load_position; insert into pipeline_run values (7, 'r', now(), '{}')"
    )
    warehouse.execute("delete from dim_currency where currency_id = 2")

    # What has been loaded is not read again.
    assert load_through(7).rows == 0
    assert set(positions(warehouse).values()) == {7}


def test_a_lake_table_that_lost_what_is_loaded_is_named_and_the_others_are_loaded(
    warehouse: psycopg.Connection, star_lake: StarLake, load_through: LoadThrough
) -> None:
    sources = Sources(dim_currency=[1, 2])
    star_lake.add_star_rows(CURRENCY, {})
    star_lake.add_star_rows(CURRENCY, {"currency_id": 2}, sequence=2)
    load_through(2, changed=sources.changed)
    before = star_lake.table(CURRENCY).current_snapshot()
    assert before is not None
    assert before.parent_snapshot_id is not None
    star_lake.table(CURRENCY).manage_snapshots().rollback_to_snapshot(
        before.parent_snapshot_id
    ).commit()
    star_lake.add_star_rows(TRANSACTION, {}, sequence=3)

    with pytest.raises(
        StarSchemaMismatch, match="dim_currency is built through run 1 in the lake and loaded thr"
    ):
        load_through(3, changed=sources.changed)

    assert keys(warehouse, TRANSACTION, "transaction_id") == [1]
    assert keys(warehouse, CURRENCY, "currency_id") == [1, 2]
    assert (positions(warehouse)[CURRENCY], positions(warehouse)[TRANSACTION]) == (2, 3)


RUNS = st.lists(
    st.fixed_dictionaries(
        {
            "changed": st.sets(st.sampled_from([CURRENCY, TRANSACTION, PAYMENT])),
            "built": st.sets(st.sampled_from([CURRENCY, TRANSACTION, PAYMENT])),
            "loaded": st.booleans(),
        }
    ),
    min_size=1,
    max_size=4,
)


@settings(
    max_examples=6,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(runs=RUNS, pace=st.sampled_from([AT_ONCE, IN_STEPS]))
def test_whatever_is_built_when_every_row_arrives_once(
    warehouse: psycopg.Connection,
    star_lake: StarLake,
    runs: list[dict[str, set[str]]],
    pace: Pace,
) -> None:
    key = {CURRENCY: "currency_id", TRANSACTION: "transaction_id", PAYMENT: "payment_record_id"}
    star_lake.forget()
    warehouse.execute(
        "truncate dim_date, dim_currency, dim_transaction, dim_counterparty, dim_payment_type, "
        "fact_payment, fact_sales_order, fact_purchase_order, load_position, pipeline_run"
    )
    star_lake.add_dimensions(*PAYMENT_DIMENSIONS)
    sources = Sources(**{table: [1] for table in PAYMENT_DIMENSIONS})
    pending: dict[str, list[int]] = defaultdict(list)
    runs = [*runs, {"changed": set(), "built": set(key), "loaded": {"all"}}]
    for sequence, run in enumerate(runs, start=2):
        for table in run["changed"]:
            pending[table].append(sequence)
            sources.runs[table].append(sequence)
        for table in run["built"]:
            for done in pending.pop(table, []):
                star_lake.add_star_rows(table, {key[table]: done}, sequence=done)
        if run["loaded"]:
            result = _load(warehouse, star_lake.lake, sequence, sources, pace)
            behind = [min(waiting) - 1 for waiting in pending.values()]
            assert result <= min([sequence, *behind])
    for table, name in key.items():
        assert keys(warehouse, table, name) == sources.runs[table]
    assert set(positions(warehouse).values()) == {len(runs) + 1}


def _load(
    connection: psycopg.Connection, lake: Lake, sequence: int, sources: Sources, pace: Pace
) -> int:
    while True:
        result = load(
            connection,
            lake,
            LoadRequest(f"run-{sequence}", sequence),
            sources.changed,
            seconds_left=lambda: 60.0,
            pace=pace,
        )
        if result.complete:
            return result.through
