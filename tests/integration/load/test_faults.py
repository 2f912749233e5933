"""Loads whose connection, server or credentials go away: they fail clean, and nothing is lost."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import psycopg
import pyarrow as pa
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lambdas.load.catalog import WarehouseTable
from lambdas.load.handler import handler
from lambdas.load.lake import Lake, Position, Versions
from lambdas.load.load import load
from lambdas.load.pace import Pace
from local.postgres import PostgresServer
from pipeline.database import Role, translated_errors
from pipeline.errors import DatabaseRefused, WarehouseUnavailable
from pipeline.manifest import ManifestStore
from pipeline.requests import LoadRequest
from tests.fixtures.lake import DIMENSIONS, STAR, StarLake
from tests.fixtures.postgres import running_server
from tests.fixtures.proxy import Direction, Proxy
from tests.integration.load.conftest import AT_ONCE, IN_STEPS, unchanged
from tests.integration.load.disturbed_lake import DisturbedLake
from tests.integration.load.invocation import Context, put_secret, secret_text
from tests.integration.load.runs import SOURCES, commit_run

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SPREAD = 14
_LAST_BYTES = (40, 20, 12, 6, 2, 1)
"""Cuts so near to the end that they hit the commit, or the answer to it."""
_GOODBYE = 5
"""Bytes of the message by which a client ends its session, once all is done."""
_MOST_INVOCATIONS = 40

Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class _RememberedVersions(Versions):
    read: tuple[tuple[Position, pa.RecordBatch], ...] = ()

    def batches(self, start: Position = Position()) -> Iterator[tuple[Position, pa.RecordBatch]]:  # noqa: B008
        done = (start.files, start.rows)
        return (one for one in self.read if (one[0].files, one[0].rows) > done)


@dataclass(frozen=True)
class RememberedLake(Lake):
    """A lake that is read once, though it is loaded again and again."""

    remembered: dict[tuple[str, int, int], Versions] = field(default_factory=dict)

    def versions(self, table: WarehouseTable, *, after: int, through: int) -> Versions:
        """Looks up versions, as they were when they were first looked up."""
        key = (table.name, after, through)
        if key not in self.remembered:
            held = super().versions(table, after=after, through=through)
            self.remembered[key] = _RememberedVersions(
                **{one.name: getattr(held, one.name) for one in dataclasses.fields(held)},
                read=tuple(held.batches()),
            )
        return self.remembered[key]


@pytest.fixture
def two_runs(star_lake: StarLake) -> StarLake:
    """A lake of two runs: one of everything, then changes and a fact that has to wait."""
    star_lake.add_dimensions(*DIMENSIONS)
    for table, columns in STAR.items():
        if table.startswith("fact_"):
            own, natural = columns[0].name, columns[1].name
            star_lake.add_star_rows(table, {}, {own: 2, natural: 2})
            star_lake.add_star_rows(table, {own: 3}, sequence=2)
    waiting = {"payment_record_id": 9, "payment_id": 9, "transaction_id": 7}
    star_lake.add_star_rows("fact_payment", waiting, sequence=2)
    star_lake.add_star_rows("dim_design", {"design_id": 2}, sequence=2)
    return star_lake


def load_through(dsn: str, lake: Lake, sequence: int, pace: Pace = AT_ONCE) -> None:
    """Loads as the function does: every invocation over a connection of its own."""
    for _ in range(_MOST_INVOCATIONS):
        with (
            translated_errors(Role.WAREHOUSE),
            psycopg.connect(dsn, autocommit=True) as connection,
        ):
            request = LoadRequest(f"run-{sequence}", sequence, rebuild=False)
            result = load(
                connection, lake, request, unchanged, seconds_left=lambda: 60.0, pace=pace
            )
        if result.complete:
            return
    pytest.fail(f"the load was not complete after {_MOST_INVOCATIONS} invocations")


def held(dsn: str) -> Rows:
    """Returns all rows of a warehouse at one instant, without the times of the loads."""
    columns = {
        "schema_migration": "name, checksum",
        "pipeline_run": "sequence, run_id, tables",
        "waiting_row": "table_name, key, content, reasons",
    } | dict.fromkeys(STAR, "*")
    with psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        there = connection.execute(
            "select table_name from information_schema.tables where table_schema = 'public'"
        ).fetchall()
        return {
            table: connection.execute(
                f"select {names} from {table} order by 1, 2".encode()
            ).fetchall()
            for table, names in columns.items()
            if (table,) in there
        }


@pytest.mark.no_cover
@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize(
    ("run", "pace"),
    [(1, AT_ONCE), (2, AT_ONCE), (1, IN_STEPS)],
    ids=["a first load", "a second load", "a load in steps"],
)
def test_a_connection_that_is_cut_at_any_byte_loses_and_doubles_nothing(
    two_runs: StarLake,
    postgres_server: PostgresServer,
    new_proxy: Callable[[int], Proxy],
    direction: Direction,
    run: int,
    pace: Pace,
) -> None:
    lake = RememberedLake(two_runs.lake.catalog, two_runs.lake.database)
    proxy = new_proxy(int(str(conninfo_to_dict(postgres_server.dsn())["port"])))

    for name in ("before", "cut"):
        postgres_server.drop_database(name)
    before_dsn = postgres_server.create_database("before")
    for earlier in range(1, run):
        load_through(before_dsn, lake, earlier)

    def loaded_before() -> str:
        postgres_server.drop_database("cut")
        return postgres_server.create_database("cut", template="before")

    def through_proxy(dsn: str) -> str:
        return make_conninfo(dsn, port=proxy.port, sslmode="disable", gssencmode="disable")

    dsn = loaded_before()
    before = held(dsn)
    proxy.cut_after(None)
    load_through(through_proxy(dsn), lake, run, pace)
    after = held(dsn)
    passed = proxy.passed[direction] - (_GOODBYE if direction is Direction.TO_SERVER else 0)
    migrated = {table: rows if table == "schema_migration" else [] for table, rows in after.items()}
    places = [passed * number // _SPREAD for number in range(_SPREAD)]
    # A load in steps notes how long they took: its last bytes are not always at the same place.
    places += [passed - number for number in _LAST_BYTES] if pace == AT_ONCE else []
    for place in places:
        dsn = loaded_before()
        proxy.cut_after(place, direction)

        with pytest.raises(WarehouseUnavailable):
            load_through(through_proxy(dsn), lake, run, pace)

        assert held(dsn) in (before, migrated, after), f"cut after {place} bytes {direction}"
        load_through(dsn, lake, run, pace)
        assert held(dsn) == after, f"cut after {place} bytes {direction}"
    for name in ("before", "cut"):
        postgres_server.drop_database(name)


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    with running_server("restarted", {"fsync": "off"}) as server:
        yield server


@pytest.mark.parametrize("pace", [AT_ONCE, IN_STEPS], ids=["at once", "in steps"])
def test_a_server_that_is_restarted_during_a_load_loses_and_doubles_nothing(
    two_runs: StarLake, own_server: PostgresServer, pace: Pace
) -> None:
    undisturbed, restarted = (own_server.create_database(name) for name in ("one", "two"))
    for run in (1, 2):
        load_through(undisturbed, two_runs.lake, run)
    load_through(restarted, two_runs.lake, 1)

    def restart() -> None:
        own_server.stop()
        own_server.start()

    with pytest.raises(WarehouseUnavailable):
        load_through(
            restarted, DisturbedLake.of(two_runs.lake, "dim_design", at_end=restart), 2, pace
        )
    load_through(restarted, two_runs.lake, 2, pace)

    assert held(restarted) == held(undisturbed)


def test_a_server_that_is_down_or_a_standby_when_the_load_begins_is_worth_a_retry(
    two_runs: StarLake, own_server: PostgresServer
) -> None:
    dsn = own_server.create_database("warehouse")
    own_server.stop()

    with pytest.raises(WarehouseUnavailable):
        load_through(dsn, two_runs.lake, 1)

    standby = own_server.log.parent / "data" / "standby.signal"
    standby.touch()
    own_server.start()
    with pytest.raises(WarehouseUnavailable, match="is a standby"):
        load_through(dsn, two_runs.lake, 1)
    own_server.stop()
    standby.unlink()
    own_server.start()
    load_through(dsn, two_runs.lake, 1)
    assert held(dsn)["fact_payment"]


@dataclass(frozen=True)
class Rotated:
    """A warehouse whose loader's password changes.

    Attributes:
        admin_dsn: The warehouse, for an administrator.
        secret_arn: The loader's secret.
    """

    admin_dsn: str
    secret_arn: str

    def rotate(self, *, at_the_server: bool = True, in_the_secret: bool = True) -> None:
        """Gives the loader another password, or says that it has one."""
        password = "changed"
        if at_the_server:
            with psycopg.connect(self.admin_dsn) as connection:
                connection.execute(
                    sql.SQL("alter role rotated_loader password {}").format(sql.Literal(password))
                )
        if in_the_secret:
            dsn = make_conninfo(self.admin_dsn, user="rotated_loader", password=password)
            boto3.client("secretsmanager").put_secret_value(
                SecretId=self.secret_arn, SecretString=secret_text(dsn)
            )

    def load(self, sequence: int) -> None:
        """Invokes the function."""
        handler({"run_id": f"run-{sequence}", "sequence": sequence}, Context())


@pytest.fixture
def rotated(
    two_runs: StarLake,
    own_server: PostgresServer,
    raw_bucket: str,
    s3: "S3Client",
    monkeypatch: pytest.MonkeyPatch,
) -> Rotated:
    """The function, deployed for a loader with the rights of docs/operations.md."""
    dsn = own_server.create_database("warehouse")
    with psycopg.connect(dsn) as connection:
        connection.execute("create role rotated_loader login password 'first'")
        connection.execute("grant create, usage on schema public to rotated_loader")
        connection.execute("grant connect, temporary on database warehouse to rotated_loader")
    arn = put_secret(make_conninfo(dsn, user="rotated_loader", password="first"))
    monkeypatch.setenv("WAREHOUSE_SECRET_ARN", arn)
    monkeypatch.setenv("GLUE_DATABASE", two_runs.lake.database)
    monkeypatch.setenv("RAW_BUCKET", raw_bucket)
    for sequence in (1, 2):
        commit_run(ManifestStore(raw_bucket, s3), sequence, dict.fromkeys(SOURCES, sequence))
    monkeypatch.setenv("DATABASE_SSL_MODE", "disable")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "ToteSys/test")
    return Rotated(dsn, arn)


def test_credentials_that_are_rotated_between_invocations_are_those_of_the_next(
    rotated: Rotated,
) -> None:
    rotated.load(1)
    rotated.rotate()

    rotated.load(2)

    assert len(held(rotated.admin_dsn)["pipeline_run"]) == 2


def test_credentials_that_are_rotated_during_a_load_do_not_end_it(
    rotated: Rotated, two_runs: StarLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed = DisturbedLake.of(two_runs.lake, "dim_design", at_end=rotated.rotate)
    monkeypatch.setattr("lambdas.load.handler.Lake", lambda *_: disturbed)

    rotated.load(2)

    assert len(held(rotated.admin_dsn)["fact_payment"]) == 3


def test_a_secret_that_lags_behind_the_server_fails_clean_and_the_next_load_goes_on(
    rotated: Rotated,
) -> None:
    rotated.load(1)
    before = held(rotated.admin_dsn)
    rotated.rotate(in_the_secret=False)

    with pytest.raises(DatabaseRefused, match="password authentication failed"):
        rotated.load(2)

    assert held(rotated.admin_dsn) == before
    rotated.rotate()
    rotated.load(2)
    assert len(held(rotated.admin_dsn)["pipeline_run"]) == 2
