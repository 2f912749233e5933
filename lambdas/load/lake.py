"""Reads the star schema's new versions from the Iceberg tables, as streams of record batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import And, BooleanExpression, GreaterThan, LessThanOrEqual

from lambdas.load.catalog import WarehouseTable
from pipeline.errors import StarSchemaMismatch

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def glue_catalog(client: "S3Client") -> Catalog:
    """Returns the Glue Data Catalog, with files read where the S3 client would read them.

    pyiceberg reads files by Arrow's own S3 client, which does not take its endpoint from the AWS
    SDK's settings: it is handed on.
    """
    return load_catalog(
        "glue",
        type="glue",
        **{"s3.endpoint": client.meta.endpoint_url, "s3.region": client.meta.region_name},
    )


@dataclass(frozen=True)
class Lake:
    """The star schema's Glue database."""

    catalog: Catalog
    database: str

    def versions(
        self, table: WarehouseTable, *, after: int, through: int
    ) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a table that runs brought, in the warehouse's columns and order.

        Args:
            table: The warehouse's table.
            after: Only rows of later runs.
            through: Only rows of this run and earlier ones.

        Raises:
            StarSchemaMismatch: The lake's table lacks a column of the warehouse's.
        """
        try:
            held = self.catalog.load_table((self.database, table.name))
        except NoSuchTableError:
            return
        names = [column.name for column in table.columns]
        known = set(held.schema().column_names)
        if missing := [name for name in names if name not in known]:
            raise StarSchemaMismatch(
                f"{table.name} has no {', '.join(missing)} in the lake: add it to the table's SQL "
                "file and rebuild, or take it out of the warehouse by a migration"
            )
        condition: BooleanExpression = And(
            GreaterThan("_sequence", after), LessThanOrEqual("_sequence", through)
        )
        reader = held.scan(
            row_filter=condition, selected_fields=tuple(names)
        ).to_arrow_batch_reader()
        for batch in reader:
            yield batch.select(names)
