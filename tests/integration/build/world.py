"""A business whose runs are captured for real, and the star schemas that are built of them."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from datetime import time
from typing import TYPE_CHECKING, Any, LiteralString, cast
from urllib.parse import urlsplit

import psycopg
import pyarrow as pa
from psycopg import sql
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from glue_jobs.build.building import BuildRequest, build_tables
from lambdas.ingest.ingest import IngestResult, ingest
from lambdas.load.catalog import read_star_tables
from lambdas.load.lake import Lake
from lambdas.load.load import LoadResult, load
from lambdas.load.plan import source_changed
from pipeline.manifest import ManifestStore
from pipeline.object_store import ObjectStore
from pipeline.requests import IngestRequest, LoadRequest
from star_schema.tables import joined_sources, star_tables
from tests.oracle.comparison import (
    differences_of,
    history_differences,
    wanted_dimension,
    wanted_fact,
)
from tests.oracle.history import HistoryOracle
from tests.oracle.star import DIMENSION_KEYS, RECORD_IDS, Row, Rows

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

STARS = {star.name: star for star in star_tables()}


class Business:
    """A source and its raw zone.

    Attributes:
        dsn: The source.
        bucket: The raw bucket.
        client: The S3 client.
        oracle: What the star schema has to hold after the runs so far.
        runs: The newest run's sequence.
    """

    def __init__(self, dsn: str, bucket: str, client: "S3Client") -> None:
        self.dsn = dsn
        self.bucket = bucket
        self.client = client
        self.oracle = HistoryOracle()
        self.runs = 0

    @property
    def store(self) -> ManifestStore:
        """The manifests, as a new job reads them."""
        return ManifestStore(self.bucket, self.client)

    def execute(self, statement: LiteralString, *parameters: Any) -> None:
        """Changes the source, in a transaction of its own."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute(statement, parameters)

    def run(self, *, full_refresh: bool = False) -> IngestResult:
        """Captures the source as one run, and has the oracle observe it."""
        run_id = f"run-{self.runs + 1}"
        result = self.capture(full_refresh=full_refresh)
        with psycopg.connect(self.dsn) as connection:
            self.oracle.observe(connection, run_id)
        return result

    def capture(self, *, full_refresh: bool = False) -> IngestResult:
        """Captures the source as one run of which the oracle could make nothing."""
        result = ingest(
            IngestRequest(f"run-{self.runs + 1}", full_refresh),
            connect=lambda: psycopg.connect(self.dsn),
            bucket=self.bucket,
            client=self.client,
            joined=joined_sources(star_tables()),
            readers=2,
        )
        self.runs = result.sequence
        return result


class Star:
    """A star schema of its own in the lake, built of a business's runs."""

    def __init__(
        self, spark: SparkSession, catalog: Catalog, database: str, business: Business
    ) -> None:
        self._spark = spark
        self._catalog = catalog
        self._business = business
        self.database = database

    def build(
        self, *tables: str, through: int | None = None, rebuild: bool = False
    ) -> dict[str, int]:
        """Builds tables through the newest run or an earlier one; returns the rows of each."""
        request = BuildRequest(self.database, through or self._business.runs, rebuild)
        stars = [STARS[table] for table in tables]
        built = build_tables(self._spark, self._business.store, stars, request)
        return {table.table: table.rows for table in built}

    def snapshots(self, table: str) -> list[int]:
        """Returns a table's current snapshot and its ancestors, the newest first."""
        held = self._catalog.load_table((self.database, table)).metadata
        parents = {one.snapshot_id: one.parent_snapshot_id for one in held.snapshots}
        found, snapshot = [], held.current_snapshot_id
        while snapshot in parents:
            found.append(snapshot)
            snapshot = parents[snapshot]
        return found

    def call(self, procedure: str, table: str, *arguments: str) -> None:
        """Calls a procedure of Iceberg, as another writer does."""
        given = ", ".join((f"'{self.database}.{table}'", *arguments))
        self._spark.newSession().sql(f"call glue_catalog.system.{procedure}({given})").collect()

    def alter(self, table: str, change: str) -> None:
        """Alters a table, as another writer does."""
        session = self._spark.newSession()
        session.sql(f"alter table glue_catalog.{self.database}.{table} {change}")

    def rows(self, table: str) -> list[Row]:
        """Returns a table's rows as the lake has them; none where there is no such table."""
        try:
            held = self._catalog.load_table((self.database, table))
        except NoSuchTableError:
            return []
        rows: list[Row] = held.scan().to_arrow().to_pylist()
        return rows

    def files(self, table: str) -> set[str]:
        """Returns the locations of the data files that a table has now."""
        held = self._catalog.load_table((self.database, table))
        return {task.file.file_path for task in held.scan().plan_files()}

    def fact(self, table: str) -> Rows:
        """Returns a fact's rows by record id, as the warehouse is to have them."""
        return {row[RECORD_IDS[table]]: _as_loaded(row) for row in self.rows(table)}

    def history(self, table: str, key: Any) -> list[Row]:
        """Returns the versions of one key of a fact, the oldest first."""
        natural_key = f"{table.removeprefix('fact_')}_id"
        rows = self.fact(table)
        return [rows[number] for number in sorted(rows) if rows[number][natural_key] == key]

    def dimension(self, table: str) -> Rows:
        """Returns a dimension's rows by key, as the warehouse is to have them."""
        return {row[DIMENSION_KEYS[table]]: _as_loaded(row) for row in self.rows(table)}

    def place(self) -> tuple[str, str]:
        """Returns the bucket of the tables' files, and the beginning of the files' keys."""
        _, table = self._catalog.list_tables(self.database)[0]
        place = urlsplit(self._catalog.load_table((self.database, table)).location())
        return place.netloc, f"{place.path[1:].rpartition('/')[0]}/"

    def register_tables_of(self, other: "Star") -> None:
        """Begins with the tables that another star schema has now."""
        for _, table in self._catalog.list_tables(other.database):
            held = self._catalog.load_table((other.database, table))
            self._catalog.register_table((self.database, table), held.metadata_location)

    def differences(self, *tables: str) -> list[str]:
        """Compares tables with what the oracle wants of them."""
        oracle = self._business.oracle
        found: list[str] = []
        for table in tables:
            if table in RECORD_IDS:
                found += differences_of(table, wanted_fact(oracle, table), self.fact(table))
            else:
                wanted = wanted_dimension(oracle, table)
                found += differences_of(table, wanted, self.dimension(table))
        return found


class Beginning:
    """What runs and builds have left, for any number of tests to go on from.

    All of them begin with the same source and the same files in the lake: files never change, and
    those that a test removes are put back for the next one.
    """

    def __init__(self, business: Business, star: Star) -> None:
        self._business = business
        self._star = star
        bucket, self._folder = star.place()
        self._lake = ObjectStore(bucket, business.client)
        self._files = {key: self._lake.get(key) for key in _keys(self._lake, self._folder)}

    def give(self, business: Business, star: Star) -> None:
        """Has a new business, and its star schema, begin here."""
        business.dsn = self._business.dsn
        business.oracle, business.runs = deepcopy(self._business.oracle), self._business.runs
        raw = ObjectStore(self._business.bucket, business.client)
        for key in _keys(raw, ""):
            source = f"{raw.bucket}/{key}"
            business.client.copy_object(Bucket=business.bucket, Key=key, CopySource=source)
        for key in self._files.keys() - _keys(self._lake, self._folder):
            self._lake.put(key, self._files[key])
        star.register_tables_of(self._star)


class Warehouse:
    """What a star schema is loaded into.

    Attributes:
        dsn: The warehouse.
    """

    def __init__(self, dsn: str, lake: Lake, business: Business) -> None:
        self.dsn = dsn
        self._lake = lake
        self._business = business

    def load(
        self, *, is_rebuild: bool = False, seconds_left: Callable[[], float] = lambda: 600.0
    ) -> LoadResult:
        """Loads the star schema through the newest run."""
        runs = self._business.runs
        with psycopg.connect(self.dsn, autocommit=True, options="-c timezone=UTC") as connection:
            result = load(
                connection,
                self._lake,
                LoadRequest(f"run-{runs}", runs, is_rebuild),
                source_changed(self._business.store),
                seconds_left=seconds_left,
            )
        assert result.problems == ()
        return result

    def rows(self) -> dict[str, list[Any]]:
        """Returns the rows of every star table that has some."""
        with psycopg.connect(self.dsn) as connection:
            rows = {
                table.name: connection.execute(
                    sql.SQL("select * from {} order by 1").format(sql.Identifier(table.name))
                ).fetchall()
                for table in read_star_tables(connection, star_tables())
            }
        return {table: found for table, found in rows.items() if found}

    def differences(self) -> list[str]:
        """Compares every row with what the oracle wants."""
        with psycopg.connect(self.dsn) as warehouse:
            return history_differences(self._business.oracle, warehouse)


def frame(spark: SparkSession, rows: Iterable[tuple[Any, ...]], schema: str) -> DataFrame:
    """Returns a frame of rows, which Spark reads from Arrow: without processes of Python."""
    types = to_arrow_schema(cast(StructType, StructType.fromDDL(schema)))
    named = [dict(zip(types.names, row, strict=True)) for row in rows]
    return spark.createDataFrame(pa.Table.from_pylist(named, schema=types))


def _keys(store: ObjectStore, prefix: str) -> set[str]:
    return {found.key for found in store.keys(prefix)}


def _as_loaded(row: Row) -> Row:
    """Returns a row without the lake's own column, with the times that the lake has as text."""
    return {
        name: time.fromisoformat(value) if name.endswith("_time") else value
        for name, value in row.items()
        if name != "_sequence"
    }
