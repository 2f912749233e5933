"""Runs of Ingest with small changes, and what each of them cost."""

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, LiteralString, Self

import psycopg

from benchmarks.build.business import RAW_BUCKET, Business
from lambdas.ingest.ingest import IngestResult, ingest
from lambdas.ingest.unbuilt import unbuilt
from local.source.activity import new_sales_orders
from pipeline.applied_run import AppliedRun
from pipeline.manifest import ManifestStore
from pipeline.object_store import ObjectStore
from pipeline.requests import IngestRequest
from star_schema.tables import joined_sources, star_tables

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DELETIONS_EVERY: Final = 10
DEPARTMENTS_EVERY: Final = 50
SHORT: Final = 10
"""After so many runs the first ones are measured."""
WINDOW: Final = DEPARTMENTS_EVERY
"""So many runs have every kind of change, the rarest once."""
LEAST_RUNS: Final = SHORT + 2 * WINDOW
_SMALL_BUILD_ROWS: Final = 100_000
_NEW_ORDERS: Final = 2
_CORRECTIONS: tuple[LiteralString, ...] = (
    """
update payment set paid = not paid, last_updated = current_timestamp where payment_id in (
    select payment_id from payment order by payment_id desc offset 50 limit 3
)""",
)
# As many rows go as have come since the last time: the tables stay as large as they are.
_DELETIONS: tuple[LiteralString, ...] = (
    "delete from payment where payment_id in "
    "(select payment_id from payment order by payment_id limit 20)",
    "delete from transaction where transaction_id in "
    "(select transaction_id from transaction order by transaction_id limit 20)",
    "delete from sales_order where sales_order_id in "
    "(select sales_order_id from sales_order order by sales_order_id limit 20)",
)
_DEPARTMENT: tuple[LiteralString, ...] = (
    "update department set location = md5(location) where department_id = 1",
)


@dataclass(frozen=True)
class Cost:
    """What runs of Ingest cost, a run.

    Attributes:
        requests: Requests to Amazon S3, on average.
        seconds: The median of their seconds.
    """

    requests: float
    seconds: float

    @classmethod
    def of(cls, costs: Iterable[Self]) -> Self:
        """Returns the cost of several runs."""
        all_costs = list(costs)
        return cls(
            statistics.mean(cost.requests for cost in all_costs),
            statistics.median(cost.seconds for cost in all_costs),
        )


class Captures:
    """Captures a source again and again.

    Args:
        business: The source and its raw zone.
    """

    def __init__(self, business: Business) -> None:
        self._business = business
        self._connection = psycopg.connect(business.dsn, autocommit=True)
        self._stars = star_tables()
        self._calls: list[str] = []
        self.runs = 0
        business.client.meta.events.register("before-call.s3", self._count)

    def close(self) -> None:
        """Closes the connection to the source."""
        self._connection.close()

    def run(self) -> Cost:
        """Changes the source and captures it as the next run."""
        self.runs += 1
        if self.runs > 1:
            self._change()
        self._calls.clear()
        began = time.monotonic()
        store = ManifestStore(RAW_BUCKET, self._business.client)
        result = self.ingest(store)
        # Each run finds the star tables as the build of the run before left them.
        unbuilt(
            store,
            self._stars,
            {star.name: AppliedRun(result.sequence - 1) for star in self._stars},
            through=result.sequence,
            small_rows=_SMALL_BUILD_ROWS,
        )
        seconds = time.monotonic() - began
        if not result.committed or result.sequence != self.runs:
            raise RuntimeError(f"run {self.runs} was not committed")
        return Cost(len(self._calls), seconds)

    def ingest(self, store: ManifestStore | None = None, *, verify: bool = False) -> IngestResult:
        """Ingests the source as it is."""
        return ingest(
            IngestRequest(f"run-{self.runs}", loaded_through=self.runs - 1, verify=verify),
            connect=lambda: psycopg.connect(self._business.dsn),
            bucket=RAW_BUCKET,
            client=self._business.client,
            joined=joined_sources(self._stars),
            stars=self._stars,
            readers=2,
            store=store,
        )

    def _change(self) -> None:
        new_sales_orders(self._connection, _NEW_ORDERS)
        statements = [*_CORRECTIONS]
        if self.runs % DELETIONS_EVERY == 0:
            statements += _DELETIONS
        if self.runs % DEPARTMENTS_EVERY == 0:
            statements += _DEPARTMENT
        for statement in statements:
            self._connection.execute(statement)

    def _count(self, model: Any, **_: Any) -> None:
        self._calls.append(model.name)


@dataclass(frozen=True)
class Extent:
    """The objects below a prefix."""

    objects: int
    size: int

    @classmethod
    def of(cls, client: "S3Client", bucket: str, prefix: str = "") -> Self:
        """Returns the number and the size of the objects below a prefix."""
        sizes = [entry.size for entry in ObjectStore(bucket, client).keys(prefix)]
        return cls(len(sizes), sum(sizes))
