"""The star tables in the lake: Iceberg tables in the Glue Data Catalog.

What a table has been applied through stands in a property of the snapshot that its rows came
with, so that a build that is repeated after a failure does each run exactly once.
"""

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from glue_jobs.star_schema.key_ranges import within_ranges
from pipeline.errors import SourceSchemaChanged

CATALOG = "glue_catalog"
_APPLIED_THROUGH = "spark.sql.iceberg.snapshot-property.applied-through"


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
        if not self.exists():
            return 0
        row = (
            self._snapshots()
            .where("summary['applied-through'] is not null")
            .selectExpr("cast(summary['applied-through'] as bigint) as applied")
            .first()
        )
        return int(row["applied"]) if row is not None else 0

    def greatest(self, column: str) -> int:
        """Returns a column's greatest value, 0 for none; Iceberg answers from its metadata."""
        row = self.rows().select(f.max(column)).first()
        return int(row[0] or 0) if row is not None else 0

    def rows(self) -> DataFrame:
        """Returns the table's rows."""
        return self._spark.table(self.identifier)

    def prepare(self, frame: DataFrame) -> None:
        """Creates the table with a frame's columns, or adds those that it lacks.

        Raises:
            SourceSchemaChanged: A column of the table has another type than the frame's.
        """
        if not self.exists():
            columns = ", ".join(f"`{name}` {kind}" for name, kind in frame.dtypes)
            self._spark.sql(
                f"create table {self.identifier} ({columns}) using iceberg "
                "tblproperties ('format-version' = '2', 'write.parquet.compression-codec' = 'zstd')"
            )
            return
        held = dict(self.rows().dtypes)
        for name, kind in frame.dtypes:
            if name not in held:
                self._spark.sql(f"alter table {self.identifier} add column `{name}` {kind}")
            elif held[name] != kind:
                raise SourceSchemaChanged(
                    f"{self.name}.{name} is {held[name]} in the lake and {kind} in its SELECT: "
                    "cast it in the SQL file to the type that the table has"
                )

    def append(self, frame: DataFrame, applied_through: int) -> int:
        """Adds rows, and returns how many, in one commit with how far the table has come."""
        self._announce(applied_through)
        self._in_order(frame).writeTo(self.identifier).append()
        return self._added()

    def replace(self, frame: DataFrame, applied_through: int) -> int:
        """Puts rows in the place of all that the table held, in one commit."""
        self._announce(applied_through)
        self._in_order(frame).writeTo(self.identifier).overwrite(f.lit(True))
        return self._added()

    def delete(self, condition: str) -> None:
        """Deletes the rows that meet a condition; there is no commit where none does."""
        if not self.rows().where(condition).isEmpty():
            # Iceberg's parser takes no parameters; names and numbers here are the job's own.
            self._spark.sql(
                f"delete from {self.identifier} where {condition}"  # noqa: S608  # nosec B608
            )

    def merge(self, frame: DataFrame, key: str, applied_through: int) -> int:
        """Updates the rows of known keys and inserts the others, in one commit.

        Returns:
            The number of rows in `frame`.
        """
        # A view whose plan reads the table that is merged into cannot be planned by Spark 4.1.
        changed = self._in_order(frame).localCheckpoint()
        count = changed.count()
        if not count:
            return self.append(changed, applied_through)
        touched = within_ranges(changed.select(key), f"target.`{key}`")
        changed.createOrReplaceTempView("changed")
        self._announce(applied_through)
        self._spark.sql(
            f"merge into {self.identifier} as target using changed "  # nosec B608
            f"on target.`{key}` = changed.`{key}` and ({touched}) "
            "when matched then update set * when not matched then insert *"
        )
        return count

    def _in_order(self, frame: DataFrame) -> DataFrame:
        return frame.select(*(f"`{name}`" for name in self.rows().columns))

    def _announce(self, applied_through: int) -> None:
        self._spark.conf.set(_APPLIED_THROUGH, str(applied_through))

    def _added(self) -> int:
        row = (
            self._snapshots()
            .selectExpr("cast(summary['added-records'] as bigint) as added")
            .first()
        )
        return int(row["added"] or 0) if row is not None else 0

    def _snapshots(self) -> DataFrame:
        """Returns the table's commits, the newest first."""
        return self._spark.table(f"{self.identifier}.snapshots").orderBy(f.desc("committed_at"))
