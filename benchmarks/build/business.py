"""A source with many orders, its raw zone, and the changes between runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, LiteralString

import boto3
import psycopg
from psycopg import sql

from benchmarks.build.contenders.task import RUN_ID
from benchmarks.ingest.source import server
from lambdas.ingest.ingest import ingest
from local.cloud.server import REGION, LocalCloud
from local.source.generate import create_and_fill
from local.stack import JARS
from pipeline.manifest import Manifest, ManifestStore
from pipeline.requests import IngestRequest
from star_schema.tables import joined_sources, star_tables

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RAW_BUCKET: Final = "raw"
LAKE_BUCKET: Final = "lake"
CHANGED_PART: Final = 1000
"""One row of so many changes between runs."""
ORDERS_AT_SCALE_ONE: Final = 7200
_NEWEST: tuple[LiteralString, ...] = (
    "update sales_order set units_sold = units_sold + 1, last_updated = current_timestamp "
    "where sales_order_id > "
    "(select max(sales_order_id) - count(*) / %(part)s from sales_order)",
    "update purchase_order set item_quantity = item_quantity + 1, "
    "last_updated = current_timestamp where purchase_order_id > "
    "(select max(purchase_order_id) - count(*) / %(part)s from purchase_order)",
    "update payment set payment_amount = payment_amount + 1, last_updated = current_timestamp "
    "where payment_id > "
    "(select max(payment_id) - count(*) / %(part)s from payment)",
    "insert into transaction (transaction_type, sales_order_id, purchase_order_id) "
    "select transaction_type, sales_order_id, purchase_order_id from transaction "
    "where transaction_id > "
    "(select max(transaction_id) - count(*) / %(part)s from transaction)",
)
_SCATTERED: tuple[LiteralString, ...] = (
    "update sales_order set units_sold = units_sold + 1, "
    "last_updated = case when %(by_hand)s then last_updated else current_timestamp end "
    "where sales_order_id %% %(part)s = %(remainder)s",
    "update purchase_order set item_quantity = item_quantity + 1, "
    "last_updated = case when %(by_hand)s then last_updated else current_timestamp end "
    "where purchase_order_id %% %(part)s = %(remainder)s",
    "update payment set payment_amount = payment_amount + 1, "
    "last_updated = case when %(by_hand)s then last_updated else current_timestamp end "
    "where payment_id %% %(part)s = %(remainder)s",
    "update transaction set transaction_type = 'PURCHASE', "
    "last_updated = case when %(by_hand)s then last_updated else current_timestamp end "
    "where transaction_id %% %(part)s = %(remainder)s and transaction_type = 'SALE'",
)
"""Changes of the rows that leave a remainder when their key is divided."""


@dataclass(frozen=True)
class Business:
    """A source, with a raw zone and a lake in a local cloud.

    Attributes:
        dsn: The source.
        cloud: The local cloud. The AWS settings of this process refer to it.
        client: Amazon S3 of the local cloud.
    """

    dsn: str
    cloud: LocalCloud
    client: "S3Client"

    def run(self) -> Manifest:
        """Captures the source as one run, and returns its manifest."""
        result = ingest(
            IngestRequest(RUN_ID),
            connect=lambda: psycopg.connect(self.dsn),
            bucket=RAW_BUCKET,
            client=self.client,
            joined=joined_sources(star_tables()),
            readers=2,
        )
        return ManifestStore(RAW_BUCKET, self.client).read(result.sequence)

    def change_newest(self) -> None:
        """Changes the newest orders and payments, and adds transactions."""
        self._execute(_NEWEST)

    def change_scattered(self) -> None:
        """Changes orders, payments and transactions of all times."""
        self._execute(_SCATTERED)

    def change_by_hand(self) -> None:
        """Changes others of all times, and leaves `last_updated` as it is."""
        self._execute(_SCATTERED, by_hand=True)

    def _execute(self, statements: tuple[LiteralString, ...], *, by_hand: bool = False) -> None:
        given = {"part": CHANGED_PART, "remainder": int(by_hand), "by_hand": by_hand}
        with psycopg.connect(self.dsn) as connection:
            for statement in statements:
                connection.execute(statement, given)


def _trust_references(dsn: str) -> None:
    """Disables foreign key checks in later sessions. Generated rows satisfy them at any scale."""
    with psycopg.connect(dsn) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(
            sql.SQL("alter database {} set session_replication_role = replica").format(name)
        )


@contextmanager
def business(
    folder: Path, orders: int, use: Callable[[dict[str, str]], None]
) -> Iterator[Business]:
    """Yields a source with a number of orders, of which nothing has been captured.

    Args:
        folder: The folder of the databases and the local cloud.
        orders: The number of orders. There are as many transactions and payments.
        use: Sets the AWS SDK's variables of this process to the local cloud.
    """
    cloud = LocalCloud(folder / "cloud", JARS)
    with server(folder) as source:
        dsn = source.create_database("totesys")
        _trust_references(dsn)
        create_and_fill(dsn, scale=orders / ORDERS_AT_SCALE_ONE)
        try:
            cloud.start()
            use(cloud.environment())
            client = boto3.client("s3")
            for bucket in (RAW_BUCKET, LAKE_BUCKET):
                client.create_bucket(
                    Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
                )
            yield Business(dsn, cloud, client)
        finally:
            cloud.stop()
