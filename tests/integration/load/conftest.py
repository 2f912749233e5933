"""A warehouse, and loads into it."""

from collections.abc import Callable, Iterator
from typing import Final, LiteralString

import psycopg
import pytest

from lambdas.load.lake import Lake
from lambdas.load.load import LoadResult, load
from lambdas.load.migrations import migrate, migrations
from lambdas.load.pace import Pace
from lambdas.load.plan import SourceChanged
from local.postgres import PostgresServer
from pipeline.errors import StarSchemaMismatch
from pipeline.requests import LoadRequest
from star_schema.tables import StarTable
from tests.fixtures.lake import StarLake
from tests.fixtures.postgres import NewDatabase, fast_login

Connect = Callable[[], psycopg.Connection]
LoadThrough = Callable[..., LoadResult]


def unchanged(star: StarTable, after: int, through: int) -> bool:
    """What the manifests say of sources that no run has changed."""
    return False


AT_ONCE: Final = Pace(rows_worth_locks=1)
"""Any fact's first load is taken for a large one."""
IN_STEPS: Final = Pace(rows_per_second=0.0, rows_a_step=1, rows_worth_locks=1)
"""Every load is resumable, and each of its batches a step."""
AT_ONCE_AND_IN_STEPS: Final = pytest.mark.parametrize(
    "pace", [AT_ONCE, IN_STEPS], ids=["at once", "in steps"], indirect=True
)
REFUSE_RUNS: Final[LiteralString] = """
create function refuse() returns trigger language plpgsql as $$
begin raise exception 'no runs'; end
$$;
create trigger refuse before insert on pipeline_run for each row execute function refuse()
"""
"""Has every load fail at its end, after all rows were written."""
REFERENCE_DIMENSIONS: Final[LiteralString] = """
alter table fact_payment
    add foreign key (created_date) references dim_date,
    add foreign key (last_updated_date) references dim_date,
    add foreign key (transaction_id) references dim_transaction,
    add foreign key (counterparty_id) references dim_counterparty,
    add foreign key (currency_id) references dim_currency,
    add foreign key (payment_type_id) references dim_payment_type,
    add foreign key (payment_date) references dim_date
"""
"""Gives a table that somebody put in the place of fact_payment the fact's foreign keys."""
_MOST_INVOCATIONS = 3


@pytest.fixture(scope="package", autouse=True)
def cheap_connections(postgres_server: PostgresServer) -> Iterator[None]:
    """Thousands of connections, none of them of pg8000."""
    with fast_login(postgres_server):
        yield


@pytest.fixture
def pace(request: pytest.FixtureRequest) -> Pace:
    """How loads go about it: at once, unless the test says otherwise."""
    chosen: Pace = getattr(request, "param", AT_ONCE)
    return chosen


@pytest.fixture(scope="module")
def migrated_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a warehouse's database with its schema, and no rows.

    It is dropped, as tests of other modules want a server without the role that it grants to.
    """
    name = "migrated"
    with psycopg.connect(postgres_server.create_database(name), autocommit=True) as connection:
        migrate(connection, migrations())
    yield name
    postgres_server.drop_database(name)


@pytest.fixture
def warehouse_dsn(request: pytest.FixtureRequest, new_database: NewDatabase) -> str:
    """A database to be the warehouse: empty, unless the test asks for one with its schema."""
    if "warehouse" not in request.fixturenames:
        return new_database("warehouse")
    return new_database("warehouse", request.getfixturevalue("migrated_database"))


@pytest.fixture
def connect(warehouse_dsn: str) -> Iterator[Connect]:
    """Opens connections to the warehouse, in autocommit mode."""
    opened: list[psycopg.Connection] = []

    def connect() -> psycopg.Connection:
        opened.append(psycopg.connect(warehouse_dsn, autocommit=True, options="-c timezone=UTC"))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def empty_warehouse(connect: Connect) -> psycopg.Connection:
    """A connection to a database with nothing in it."""
    return connect()


@pytest.fixture
def warehouse(empty_warehouse: psycopg.Connection) -> psycopg.Connection:
    """A connection to a warehouse with its schema, and no rows."""
    return empty_warehouse


@pytest.fixture
def load_through(warehouse: psycopg.Connection, star_lake: StarLake, pace: Pace) -> LoadThrough:
    """Loads the lake into the warehouse through a run, in as many invocations as that takes.

    It raises StarSchemaMismatch if a table could not be loaded, for which the handler answers it.
    """

    def load_through(
        sequence: int,
        *,
        rebuild: bool = False,
        run_id: str = "",
        lake: Lake = star_lake.lake,
        changed: SourceChanged = unchanged,
        seconds_left: float = 60.0,
        lock_seconds: float = 30.0,
    ) -> LoadResult:
        for _ in range(_MOST_INVOCATIONS):
            result = load(
                warehouse,
                lake,
                LoadRequest(run_id or f"run-{sequence}", sequence, rebuild),
                changed,
                seconds_left=lambda: seconds_left,
                lock_seconds=lock_seconds,
                pace=pace,
            )
            if result.complete:
                break
        if result.problems:
            raise StarSchemaMismatch("; ".join(result.problems))
        return result

    return load_through
