"""Businesses and star schemas, as many as a test needs."""

import gc
import itertools
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from pyiceberg.catalog.glue import GlueCatalog
from pyspark.sql import SparkSession

from lambdas.load.lake import Lake, glue_catalog
from local.cloud.server import REGION, LocalCloud
from local.postgres import PostgresServer
from local.source.generate import create_and_fill
from tests.integration.build.world import Business, Star, Warehouse


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lets PySpark leave the sockets that it fetches rows through to the garbage collector."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(
                pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")
            )


@pytest.fixture(scope="module", autouse=True)
def collected_sockets() -> Iterator[None]:
    """Collects those sockets before a test elsewhere does, where such a warning is an error."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="session")
def filled_database(postgres_server: PostgresServer) -> str:
    """The name of a source's database with a few orders."""
    name = "filled"
    create_and_fill(postgres_server.create_database(name), scale=0.004)
    return name


@pytest.fixture(scope="module")
def new_business(
    local_cloud: LocalCloud, postgres_server: PostgresServer, filled_database: str
) -> Iterator[Callable[[], Business]]:
    """Makes businesses with a few orders each, of which no run has been captured yet."""
    client = boto3.client("s3")
    numbers = itertools.count(1)
    made: list[str] = []

    def make() -> Business:
        name = f"business_{next(numbers)}"
        dsn = postgres_server.create_database(name, template=filled_database)
        made.append(name)
        bucket = f"raw-{uuid.uuid4().hex[:12]}"
        client.create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        return Business(dsn, bucket, client)

    yield make
    for name in made:
        postgres_server.drop_database(name)


@pytest.fixture(scope="module")
def new_star(local_cloud: LocalCloud, spark: SparkSession) -> Callable[[Business], Star]:
    """Makes star schemas that hold nothing yet."""
    catalog = glue_catalog(boto3.client("s3"))
    glue = boto3.client("glue")

    def make(business: Business) -> Star:
        database = f"star_{uuid.uuid4().hex[:12]}"
        glue.create_database(DatabaseInput={"Name": database})
        return Star(spark, catalog, database, business)

    return make


@pytest.fixture(scope="module")
def new_warehouse(
    lake_catalog: GlueCatalog, postgres_server: PostgresServer
) -> Iterator[Callable[[Star, Business], Warehouse]]:
    """Makes warehouses that hold nothing yet, each of a star schema."""
    numbers = itertools.count(1)
    made: list[str] = []

    def make(star: Star, business: Business) -> Warehouse:
        made.append(f"star_warehouse_{next(numbers)}")
        dsn = postgres_server.create_database(made[-1])
        return Warehouse(dsn, Lake(lake_catalog, star.database), business)

    yield make
    for name in made:
        postgres_server.drop_database(name)


@pytest.fixture
def business(new_business: Callable[[], Business]) -> Business:
    """A business of which no run has been captured yet."""
    return new_business()


@pytest.fixture
def star(new_star: Callable[[Business], Star], business: Business) -> Star:
    """The business's star schema, which holds nothing yet."""
    return new_star(business)
