"""The star tables in the lake: Iceberg tables in the Glue Data Catalog.

What a table has been applied through stands in a property of the snapshot that its rows came
with, so that a build that is repeated after a failure does each run exactly once.
"""

from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from glue_jobs.star_schema.key_ranges import within_ranges
from glue_jobs.star_schema.spark_sql import literal, quoted
from pipeline.errors import SourceSchemaChanged

CATALOG = "glue_catalog"
SMALL_TABLE_ROWS = 100_000
"""A table of no more rows is read whole: it has one row group or two."""
_SNAPSHOT_PROPERTY = "spark.sql.iceberg.snapshot-property"
_PROPERTIES: Final = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    # What a reader that looks for a few keys can leave out: 16 MiB instead of 128.
    "write.parquet.row-group-size-bytes": str(16 * 1024 * 1024),
    "write.metadata.metrics.default": "truncate(16)",
}


@dataclass(frozen=True)
class Applied:
    """How far a table has come: what every commit says of itself.

    Attributes:
        through: The newest run that the table's rows show.
        run_id: The name of the execution that made that run.
    """

    through: int
    run_id: str


@dataclass(frozen=True)
class TableDesign:
    """What a table is, beside its columns' names and types.

    Attributes:
        comment: What it holds.
        columns: What each column holds.
        sort_key: The column that its files are sorted by.
        bounded: The columns whose bounds the metadata keeps to the full.
    """

    comment: str
    columns: dict[str, str]
    sort_key: str
    bounded: tuple[str, ...]

    @property
    def properties(self) -> dict[str, str]:
        """The table's properties."""
        full = {f"write.metadata.metrics.column.{column}": "full" for column in self.bounded}
        return _PROPERTIES | full

    def column(self, name: str, kind: str) -> str:
        """Returns a column's definition, as DDL has it."""
        return f"{quoted(name)} {kind} comment {literal(self.columns.get(name, ''))}"


class LakeTable:
    """One Iceberg table.

    Args:
        spark: A session of the table's own: its snapshot properties are session settings.
        database: The Glue database.
        name: The table.
    """

    def __init__(self, spark: SparkSession, database: str, name: str) -> None:
        self._spark = spark
        self.name = name
        self.identifier = f"{CATALOG}.{database}.{name}"

    def exists(self) -> bool:
        """Returns whether the table is in the catalogue."""
        return self._spark.catalog.tableExists(self.identifier)

    def applied_through(self) -> int:
        """Returns the newest run that the table's rows show; 0 for a new table."""
        applied = self._applied() if self.exists() else None
        return applied.through if applied else 0

    def keep_applied(self) -> None:
        """Has the newest snapshot say how far the table has come, if only an older one does.

        A snapshot that replaced files by others with the same rows says nothing of that.
        """
        applied = self._applied()
        if applied and "applied-through" not in self._newest_summary():
            self.append(self.rows().limit(0), applied)

    def _applied(self) -> Applied | None:
        told = (summary for summary in self._summaries() if "applied-through" in summary)
        summary = next(told, None)
        return Applied(int(summary["applied-through"]), summary["run-id"]) if summary else None

    @cached_property
    def is_small(self) -> bool:
        """Whether to read all of the table costs less than to know what of it to read.

        It is looked up once: a build that commits knows it from before.
        """
        return int(self._newest_summary().get("total-records", 0)) <= SMALL_TABLE_ROWS

    def greatest(self, column: str) -> int:
        """Returns a column's greatest value, 0 for none; Iceberg answers from its metadata."""
        row = self.rows().select(f.max(column)).first()
        return int(row[0] or 0) if row is not None else 0

    def rows(self) -> DataFrame:
        """Returns the table's rows."""
        return self._spark.table(self.identifier)

    def prepare(self, frame: DataFrame, design: TableDesign) -> None:
        """Creates the table with a frame's columns, or makes of it what the design has.

        Raises:
            SourceSchemaChanged: A column of the table has another type than the frame's.
        """
        if not self.exists():
            columns = ", ".join(design.column(name, kind) for name, kind in frame.dtypes)
            self._spark.sql(
                f"create table {self.identifier} ({columns}) using iceberg "
                f"comment {literal(design.comment)} tblproperties ({_pairs(design.properties)})"
            )
            self._alter(f"write locally ordered by {quoted(design.sort_key)}")
            return
        self._prepare_columns(frame, design)
        held = {
            row["key"]: row["value"]
            for row in self._spark.sql(f"show tblproperties {self.identifier}").collect()
        }
        if held.get("comment") != design.comment:
            self._spark.sql(f"comment on table {self.identifier} is {literal(design.comment)}")
        wanted = {key: text for key, text in design.properties.items() if held.get(key) != text}
        if wanted:
            self._alter(f"set tblproperties ({_pairs(wanted)})")
        if not held.get("sort-order", "").startswith(f"{design.sort_key} "):
            self._alter(f"write locally ordered by {quoted(design.sort_key)}")

    def _prepare_columns(self, frame: DataFrame, design: TableDesign) -> None:
        held = {field.name: field for field in self.rows().schema}
        for name, kind in frame.dtypes:
            if name not in held:
                self._alter(f"add column {design.column(name, kind)}")
            elif (held_kind := held[name].dataType.simpleString()) != kind:
                raise SourceSchemaChanged(
                    f"{self.name}.{name} is {held_kind} in the lake and {kind} in its SELECT: "
                    "cast it in the SQL file to the type that the table has"
                )
            elif held[name].metadata.get("comment", "") != design.columns.get(name, ""):
                self._alter(
                    f"alter column {quoted(name)} comment {literal(design.columns.get(name, ''))}"
                )

    def _alter(self, change: str) -> None:
        self._spark.sql(f"alter table {self.identifier} {change}")

    def append(self, frame: DataFrame, applied: Applied) -> int:
        """Adds rows, and returns how many, in one commit with how far the table has come."""
        self._announce(applied)
        self._in_order(frame).writeTo(self.identifier).append()
        return self._added()

    def replace(self, frame: DataFrame, applied: Applied) -> int:
        """Puts rows in the place of all that the table held, in one commit."""
        self._announce(applied)
        self._in_order(frame).writeTo(self.identifier).overwrite(f.lit(True))
        return self._added()

    def delete(self, condition: str) -> None:
        """Deletes the rows that meet a condition; there is no commit where none does."""
        if not self.rows().where(condition).isEmpty():
            # Iceberg's parser takes no parameters; names and numbers here are the job's own.
            self._spark.sql(
                f"delete from {self.identifier} where {condition}"  # noqa: S608  # nosec B608
            )

    def merge(self, frame: DataFrame, key: str, applied: Applied) -> int:
        """Updates the rows of known keys and inserts the others, in one commit.

        Returns:
            The number of rows in `frame`.
        """
        # A view whose plan reads the table that is merged into cannot be planned by Spark 4.1.
        changed = self._in_order(frame).localCheckpoint()
        count = changed.count()
        if not count:
            return self.append(changed, applied)
        column = f"target.`{key}`"
        touched = "true" if self.is_small else within_ranges(changed.select(key), column)
        changed.createOrReplaceTempView("changed")
        self._announce(applied)
        self._spark.sql(
            f"merge into {self.identifier} as target using changed "  # nosec B608
            f"on {column} = changed.`{key}` and ({touched}) "
            "when matched then update set * when not matched then insert *"
        )
        return count

    def _in_order(self, frame: DataFrame) -> DataFrame:
        return frame.select(*(quoted(name) for name in self.rows().columns))

    def _announce(self, applied: Applied) -> None:
        self._spark.conf.set(f"{_SNAPSHOT_PROPERTY}.applied-through", str(applied.through))
        self._spark.conf.set(f"{_SNAPSHOT_PROPERTY}.run-id", applied.run_id)

    def _added(self) -> int:
        return int(self._newest_summary().get("added-records", 0))

    def _newest_summary(self) -> dict[str, str]:
        """Returns what the newest commit says of itself; nothing where there is none."""
        return next(iter(self._summaries()), {})

    def _summaries(self) -> list[dict[str, str]]:
        """Returns what each commit says of itself, the newest first."""
        # Sorted here: to have Spark sort a handful of rows takes longer than to read them.
        commits = self._spark.table(f"{self.identifier}.snapshots")
        rows = commits.select("committed_at", "summary").collect()
        return [
            row["summary"] for row in sorted(rows, key=itemgetter("committed_at"), reverse=True)
        ]


def _pairs(properties: dict[str, str]) -> str:
    return ", ".join(f"'{key}' = '{value}'" for key, value in properties.items())
