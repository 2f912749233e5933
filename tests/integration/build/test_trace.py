"""The life of rows that are edited, held back, wait, go and return, as a trace tells it."""

import dataclasses
import io
import json
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import pyarrow.parquet as pq
import pytest
from markupsafe import escape
from pyiceberg.catalog import Catalog

from dashboard.app import Dashboard
from dashboard.life import Stack
from lambdas.ingest.scope import DEFAULT_SCOPE, Scope
from lineage.text import circumstances, heading, lines, summary
from lineage.trace import Step, Trace, trace
from pipeline.database import Role
from pipeline.errors import DatabaseRefused, InvalidInput
from pipeline.manifest import ManifestStore
from tests.fixtures.asgi import asked
from tests.integration.build.world import Business, Star, Warehouse

TABLES = ("dim_staff", "dim_transaction", "fact_payment")
DIMENSIONS = ("dim_counterparty", "dim_currency", "dim_date", "dim_payment_type", *TABLES)
HOSTILE = "O'Brien\x1b[2J <script>\n東京"


@dataclass
class World:
    """The parts of a business whose rows have lived."""

    business: Business
    star: Star
    warehouse: Warehouse
    lake: Catalog
    unreachable: frozenset[Role] = frozenset()

    @property
    def raw_bucket(self) -> str:
        return self.business.bucket

    @property
    def glue_database(self) -> str:
        return self.star.database

    @property
    def scope(self) -> Scope:
        return DEFAULT_SCOPE

    def store(self) -> ManifestStore:
        return self.business.store

    def catalog(self) -> Catalog:
        return self.lake

    def connect(self, role: Role) -> psycopg.Connection:
        if role in self.unreachable:
            raise DatabaseRefused(f"the {role} database refused: no right")
        is_source = role is Role.SOURCE
        return psycopg.connect(
            self.business.dsn if is_source else self.warehouse.dsn,
            options=f"-c timezone=UTC -c search_path={'public' if is_source else 'pg_catalog'}",
        )

    def run(self) -> None:
        self.business.run()
        self.star.build(*DIMENSIONS)
        self.warehouse.load()


@pytest.fixture(scope="module")
def world(
    new_business: Callable[[], Business],
    new_star: Callable[[Business], Star],
    new_warehouse: Callable[[Star, Business], Warehouse],
    lake_catalog: Catalog,
) -> World:
    """Payment 1 is edited, breaks a rule, goes and returns; payment 2 waits for its transaction."""
    business = new_business()
    star = new_star(business)
    world = World(business, star, new_warehouse(star, business), lake_catalog)
    business.execute("alter table payment drop constraint payment_transaction_id_fkey")
    world.run()
    business.execute("update payment set paid = not paid where payment_id = 1")
    business.execute("update payment set transaction_id = 99999 where payment_id = 2")
    business.execute("update department set department_name = %s where department_id = 1", HOSTILE)
    business.execute("update staff set department_id = 1 where staff_id = 1")
    world.run()
    business.execute("update payment set payment_date = 'soon' where payment_id = 1")
    business.execute(
        "insert into transaction (transaction_id, transaction_type) values (99999, 'SALE')"
    )
    world.run()
    business.execute("create table gone as select * from payment where payment_id = 1")
    business.execute("delete from payment where payment_id = 1")
    world.run()
    business.execute("update gone set payment_date = '2026-01-31'")
    business.execute("insert into payment select * from gone")
    business.execute("drop table gone")
    world.run()
    return world


def events(found: Trace) -> list[tuple[int, str]]:
    return [(step.sequence, step.event) for step in found.steps]


def step_of(found: Trace, sequence: int) -> Step:
    (step,) = (step for step in found.steps if step.sequence == sequence)
    return step


def test_the_dashboard_shows_the_same_as_the_command(world: World) -> None:
    dashboard = Dashboard(
        lambda: world.connect(Role.WAREHOUSE),
        "warehouse",
        Stack(lambda table, key: trace(table, key, world)),
    )

    for table, key in (("fact_payment", "1"), ("fact_payment", "2"), ("dim_staff", "1")):
        found = trace(table, key, world)
        status, shown = asked(dashboard.application(), f"/trace/{table}/{key}")
        told = [*summary(found)]
        for step in found.steps:
            assert f">{escape(heading(step))}</h2>" in shown
            told += circumstances(step)
        assert status == 200
        assert all(f"<td>{escape(finding)}</td>" in shown for _, finding in told)


def test_a_fact_that_is_edited_broken_deleted_and_restored_is_told_run_by_run(world: World) -> None:
    found = trace("fact_payment", "1", world)

    assert found.not_reached == {}
    assert events(found) == [
        (1, "inserted"),
        (2, "changed"),
        (3, "held back"),
        (4, "deleted"),
        (5, "returned"),
    ]
    assert step_of(found, 2).changes.keys() == {"paid"}
    assert step_of(found, 3).reasons == ("it breaks the rule: payment_date is a date, YYYY-MM-DD",)
    assert step_of(found, 3).remarks == ["in the lake's quarantine"]
    assert step_of(found, 4).keys
    assert step_of(found, 5).changes["payment_date"][1] == "2026-01-31"
    assert found.equals_source is True


def test_every_version_names_its_raw_row_its_snapshot_and_its_load(world: World) -> None:
    found = trace("fact_payment", "1", world)

    versions = [step for step in found.steps if step.is_version]
    manifests = {run: world.store().read(run) for run in range(1, 6)}
    with world.connect(Role.WAREHOUSE) as warehouse:
        rows = warehouse.execute(
            "select payment_record_id::text from public.fact_payment "
            "where payment_id = 1 order by 1"
        ).fetchall()
        loads: dict[int, object] = dict(
            warehouse.execute("select sequence, loaded_at from public.pipeline_run").fetchall()
        )
    assert [(step.record_id,) for step in versions] == rows
    for step in versions:
        assert step.snapshot_at == manifests[step.sequence].snapshot_at
        assert step.load
        assert step.load.loaded_at == loads[step.sequence]
        assert step.snapshot
        assert step.snapshot.is_first
        assert step.remarks == []
    assert len({step.snapshot.snapshot_id for step in versions if step.snapshot}) == 4
    first = step_of(found, 1).raw
    assert first
    assert first.file in manifests[1].tables["payment"].files


def test_a_fact_that_waited_names_the_row_that_it_waited_for(world: World) -> None:
    found = trace("fact_payment", "2", world)

    waited = step_of(found, 2)
    assert waited.waited == ("dim_transaction 99999, which came with run 3",)
    assert waited.load
    assert waited.load.sequence == 3
    (transaction,) = (one for one in found.references if one.table == "dim_transaction")
    assert (transaction.key, transaction.state) == ("99999", "present")


def test_a_dimension_row_is_told_with_the_rows_that_joined_it(world: World) -> None:
    found = trace("dim_staff", "1", world)

    last = found.steps[-1]
    assert last.changes["department_name"][1] == HOSTILE
    assert last.joined == (("department", "1", 2),)
    assert last.load
    assert last.load.sequence == 2
    assert found.equals_source is True


def test_a_computed_dimension_row_has_no_raw_row(world: World) -> None:
    found = trace("dim_date", "2026-01-31", world)

    (step,) = found.steps
    assert (step.raw, step.remarks) == (None, [])
    assert step.snapshot
    assert step.load
    assert found.equals_source is None


def test_a_change_of_the_source_since_the_last_run_is_a_difference(world: World) -> None:
    world.business.execute("update payment set payment_amount = 7.25 where payment_id = 3")

    found = trace("fact_payment", "3", world)

    assert found.equals_source is False
    assert found.differences["payment_amount"][1] == "7.25"


def test_a_row_that_nobody_knows_has_no_life(world: World) -> None:
    found = trace("fact_payment", "424242", world)

    assert (found.steps, found.equals_source) == ([], True)
    assert found.source_now == "the source has no such row"


def test_a_part_that_cannot_be_reached_is_named_and_the_others_tell(world: World) -> None:
    blind = dataclasses.replace(world, unreachable=frozenset(Role))

    found = trace("fact_payment", "1", blind)

    assert found.not_reached == {
        role.value: f"the {role} database refused: no right"
        for role in (Role.WAREHOUSE, Role.SOURCE)
    }
    assert len(events(found)) == 5


def test_a_deleted_raw_file_is_named_and_the_lake_tells(world: World) -> None:
    key = world.store().read(1).tables["payment"].files[0]
    content = world.business.client.get_object(Bucket=world.raw_bucket, Key=key)["Body"].read()
    world.business.client.delete_object(Bucket=world.raw_bucket, Key=key)
    try:
        found = trace("fact_payment", "1", world)
    finally:
        world.business.client.put_object(Bucket=world.raw_bucket, Key=key, Body=content)

    assert f"{key} is missing" in found.not_reached["raw zone"]
    assert [step.sequence for step in found.steps] == [1, 2, 4, 5]
    assert found.equals_source is True


def one_row(content: bytes) -> bytes:
    file = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(content)).slice(1, 1), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda content: b"", "has 0 bytes, and"),
        (lambda content: content[:100], "has 100 bytes, and"),
        (one_row, "has "),
        (lambda content: content[::-1], "has other content than was written"),
    ],
)
def test_a_raw_file_that_was_replaced_is_named_and_tells_nothing(
    world: World, change: Callable[[bytes], bytes], difference: str
) -> None:
    key = world.store().read(1).tables["payment"].files[0]
    content = world.business.client.get_object(Bucket=world.raw_bucket, Key=key)["Body"].read()
    world.business.client.put_object(Bucket=world.raw_bucket, Key=key, Body=change(content))
    try:
        found = trace("fact_payment", "1", world)
    finally:
        world.business.client.put_object(Bucket=world.raw_bucket, Key=key, Body=content)

    assert f"{key} {difference}" in found.not_reached["raw zone"]
    assert [step.sequence for step in found.steps] == [1, 2, 4, 5]


def test_a_snapshot_that_has_expired_is_not_called_the_first(world: World) -> None:
    before = trace("fact_payment", "1", world)
    oldest = step_of(before, 1).snapshot
    assert oldest
    world.lake.load_table(
        (world.glue_database, "fact_payment")
    ).maintenance.expire_snapshots().by_id(oldest.snapshot_id).commit()

    found = step_of(trace("fact_payment", "1", world), 1).snapshot

    assert found
    assert found.snapshot_id != oldest.snapshot_id
    assert not found.is_first


def test_hostile_text_reaches_no_terminal(world: World) -> None:
    found = trace("dim_staff", "1", world)

    text = "\n".join(lines(found))

    assert "\x1b" not in text
    assert json.dumps(dataclasses.asdict(found), default=str)


@pytest.mark.parametrize("key", ["one", "1 or true", ""])
def test_a_key_that_the_table_cannot_have_is_refused(world: World, key: str) -> None:
    with pytest.raises(InvalidInput, match="payment_id is of the type int"):
        trace("fact_payment", key, world)
