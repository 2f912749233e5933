"""Reads raw files: many of them once for all star tables of a build."""

import threading
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Final, Self
from urllib.parse import unquote

from pyspark.sql import DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as f

from pipeline.errors import RawFilesChanged
from pipeline.object_store import ObjectStore
from pipeline.written_files import Written, by_folder, unlike_in_folder

MANY_FILES: Final = 100
"""So many files of a table are looked up once, by folder: a long history is many small files."""
MOST_BYTES_KEPT: Final = 256 * 1024 * 1024
"""The rows of many files are kept, in memory and on disk, if the files have no more bytes."""
_LOOK_UP_TASKS: Final = "spark.sql.sources.parallelPartitionDiscovery.parallelism"
MOST_TASKS: Final = 64
"""How many tasks look up, or open, many files: several for each core of a job."""

LISTED_AT_ONCE: Final = 10
"""How many folders are listed at the same time: as many as botocore keeps connections."""
_SHOWN_FILES: Final = 5
"""How many files that were changed a message names."""


def prepare(session: SparkSession) -> SparkSession:
    """Has a session read raw files, and texts in statements, as what they are, and returns it."""
    session.conf.set("spark.sql.session.timeZone", "UTC")
    # As at the source: names may differ by case alone.
    session.conf.set("spark.sql.caseSensitive", "true")
    # A condition may have keys in itself, and a text ${user.name} is no variable of Spark's.
    session.conf.set("spark.sql.variable.substitute", "false")
    # By default each of some thousand files is looked up in a task of its own.
    session.conf.set(_LOOK_UP_TASKS, MOST_TASKS)
    return session


class RawFiles:
    """Reads the raw files of a build.

    To look up and open a file takes several requests, however few rows it has, and several star
    tables read a source, each more than once. Each star table has a session of its own, so what
    they share is a global view. The files of a large table are many too, and are read each time.

    Args:
        spark: A session.
        objects: The raw bucket.
    """

    def __init__(self, spark: SparkSession, objects: ObjectStore) -> None:
        self._spark = spark
        self._objects = objects
        self._pool = ThreadPoolExecutor(LISTED_AT_ONCE)
        self._lock = threading.Lock()
        self._shared: dict[tuple[str, tuple[str, ...]], tuple[str, DataFrame]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        for name, rows in self._shared.values():
            self._session.catalog.dropGlobalTempView(name)
            rows.unpersist()

    def read(self, spark: SparkSession, schema: str, files: Mapping[str, Written]) -> DataFrame:
        """Returns the rows of files of one table, each with its run's `_sequence`.

        Args:
            spark: The session of a star table.
            schema: The columns of the files, as DDL has them.
            files: The files by key, each as it was written.

        Raises:
            RawFilesChanged: A file is missing or empty, or is not the one that was written.
        """
        keys = tuple(files)
        if len(keys) < MANY_FILES:
            return self._written_rows(spark, schema, files)
        with self._lock:
            if (schema, keys) not in self._shared:
                rows = self._written_rows(self._session, schema, files)
                self._shared[schema, keys] = self._share(rows)
            name, _ = self._shared[schema, keys]
        return spark.table(f"global_temp.{name}")

    def _written_rows(
        self, spark: SparkSession, schema: str, files: Mapping[str, Written]
    ) -> DataFrame:
        """Returns rows of files while it is found out whether they are those that were written.

        Spark reads no rows of an empty file, and no error.
        """
        looked_at = [
            self._pool.submit(unlike_in_folder, self._objects, folder)
            for folder in by_folder(files)
        ]
        try:
            return _rows(spark, schema, tuple(map(self._objects.address, files)))
        finally:
            self._check({key: said for one in looked_at for key, said in one.result().items()})

    def _check(self, differing: Mapping[str, str]) -> None:
        if differing:
            wrong = [f"{self._objects.address(key)} {said}" for key, said in differing.items()]
            raise RawFilesChanged(
                f"{len(wrong)} raw files are not those that Ingest wrote "
                f"({'; '.join(wrong[:_SHOWN_FILES])}): restore the objects' previous versions"
            )

    @cached_property
    def _session(self) -> SparkSession:
        """The session of what is shared: most builds share nothing."""
        return prepare(self._spark.newSession())

    def _share(self, rows: DataFrame) -> tuple[str, DataFrame]:
        name = f"raw_{uuid.uuid4().hex}"
        if _bytes(rows) <= MOST_BYTES_KEPT:
            rows = rows.coalesce(MOST_TASKS).persist()
        rows.createGlobalTempView(name)
        return name, rows


def _bytes(rows: DataFrame) -> int:
    """Returns the size of the files that rows are read from, as Spark has looked it up."""
    files = rows._jdf.queryExecution().analyzed().collectLeaves().head()
    return int(files.stats().sizeInBytes())


def _rows(spark: SparkSession, schema: str, paths: tuple[str, ...]) -> DataFrame:
    reader = spark.read.schema(schema)
    rows = reader.parquet(*paths) if len(paths) < MANY_FILES else _of_folders(reader, paths)
    sequence = f.regexp_extract(f.col("_metadata.file_name"), "^([0-9]+)-", 1).cast("bigint")
    return rows.select("*", sequence.alias("_sequence"))


def _of_folders(reader: DataFrameReader, paths: tuple[str, ...]) -> DataFrame:
    """Returns the rows of files by one listing a folder, not three requests a file.

    Where a folder has others, of other runs or of one that was not committed, its files are looked
    up by themselves.
    """
    folders = {_folder(path) for path in paths}
    rows = reader.parquet(*sorted(folders))
    differing = {_folder(path) for path in {*paths} ^ {*map(unquote, rows.inputFiles())}}
    if not differing:
        return rows
    looked_up = [path for path in paths if _folder(path) in differing]
    return reader.parquet(*sorted(folders - differing), *looked_up)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
