"""Tables of Parquet files in the Glue Data Catalog."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.aws_errors import translated_aws_errors
from pipeline.errors import ObjectStoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_glue.type_defs import (
        ColumnOutputTypeDef,
        ColumnTypeDef,
        StorageDescriptorTypeDef,
    )

_PARTITIONS_AT_ONCE = 100
_DELETED_AT_ONCE = 25
_LONGEST_COMMENT = 255


@dataclass(frozen=True)
class GlueColumn:
    """A column: its name, its type as Athena names it, and what people should know of it."""

    name: str
    type: str
    comment: str = ""


@dataclass(frozen=True)
class GlueTable:
    """A table.

    Attributes:
        name: Its name.
        description: What people should know of it.
        location: The address of its files' folder.
        columns: The columns of its files.
        partition_keys: The columns whose values its partitions have.
        parameters: What programs should know of it.
    """

    name: str
    description: str
    location: str
    columns: tuple[GlueColumn, ...]
    partition_keys: tuple[GlueColumn, ...]
    parameters: dict[str, str]


class GlueTables:
    """The tables of one Glue database.

    Every method raises AccessRefused if a policy forbids the call, and ObjectStoreUnavailable if
    AWS Glue does not answer or answers with another error.
    """

    def __init__(self, database: str, client: "GlueClient") -> None:
        self.database = database
        self._client = client

    def get(self, name: str) -> GlueTable | None:
        """Returns a table, or None if there is none of that name."""
        with translated_aws_errors(f"read {self.database}.{name} of the catalogue"):
            try:
                table = self._client.get_table(DatabaseName=self.database, Name=name)["Table"]
            except self._client.exceptions.EntityNotFoundException:
                return None
        storage = table.get("StorageDescriptor", {})
        return GlueTable(
            name=name,
            description=table.get("Description", ""),
            location=storage.get("Location", ""),
            columns=tuple(_read(storage.get("Columns", []))),
            partition_keys=tuple(_read(table.get("PartitionKeys", []))),
            parameters=table.get("Parameters", {}),
        )

    def put(self, table: GlueTable, *, is_new: bool) -> None:
        """Creates a table, or replaces its definition; its partitions stay."""
        write = self._client.create_table if is_new else self._client.update_table
        with translated_aws_errors(f"write {self.database}.{table.name} of the catalogue"):
            write(
                DatabaseName=self.database,
                TableInput={
                    "Name": table.name,
                    "Description": table.description,
                    "TableType": "EXTERNAL_TABLE",
                    "Parameters": {"classification": "parquet", **table.parameters},
                    "PartitionKeys": _written(table.partition_keys),
                    "StorageDescriptor": {
                        "Columns": _written(table.columns),
                        **_parquet(table.location),
                    },
                },
            )

    def add_partitions(self, name: str, partitions: Mapping[str, list[str]]) -> None:
        """Adds partitions, by their folders' addresses; those that are there stay."""
        entries = list(partitions.items())
        with translated_aws_errors(f"write {self.database}.{name} of the catalogue"):
            for first in range(0, len(entries), _PARTITIONS_AT_ONCE):
                answer = self._client.batch_create_partition(
                    DatabaseName=self.database,
                    TableName=name,
                    PartitionInputList=[
                        {"Values": values, "StorageDescriptor": _parquet(location)}
                        for location, values in entries[first : first + _PARTITIONS_AT_ONCE]
                    ],
                )
                for failed in answer.get("Errors", []):
                    detail = failed.get("ErrorDetail", {})
                    if detail.get("ErrorCode") != "AlreadyExistsException":
                        raise ObjectStoreUnavailable(
                            f"could not add a partition to {self.database}.{name} of the "
                            f"catalogue: {detail.get('ErrorMessage', detail)}"
                        )

    def delete(self, name: str) -> None:
        """Deletes a table, after its partitions: AWS Glue would keep them for a while."""
        with translated_aws_errors(f"delete {self.database}.{name} of the catalogue"):
            pages = self._client.get_paginator("get_partitions").paginate(
                DatabaseName=self.database, TableName=name, ExcludeColumnSchema=True
            )
            values = [one.get("Values", []) for page in pages for one in page["Partitions"]]
            for first in range(0, len(values), _DELETED_AT_ONCE):
                self._client.batch_delete_partition(
                    DatabaseName=self.database,
                    TableName=name,
                    PartitionsToDelete=[
                        {"Values": one} for one in values[first : first + _DELETED_AT_ONCE]
                    ],
                )
            self._client.delete_table(DatabaseName=self.database, Name=name)


def _parquet(location: str) -> "StorageDescriptorTypeDef":
    formats = "org.apache.hadoop.hive.ql.io.parquet"
    return {
        "Location": location,
        "InputFormat": f"{formats}.MapredParquetInputFormat",
        "OutputFormat": f"{formats}.MapredParquetOutputFormat",
        "SerdeInfo": {
            "SerializationLibrary": f"{formats}.serde.ParquetHiveSerDe",
            "Parameters": {"serialization.format": "1"},
        },
    }


def _written(columns: Iterable[GlueColumn]) -> "list[ColumnTypeDef]":
    return [
        {"Name": one.name, "Type": one.type, "Comment": one.comment[:_LONGEST_COMMENT]}
        for one in columns
    ]


def _read(columns: "Iterable[ColumnOutputTypeDef]") -> Iterator[GlueColumn]:
    for one in columns:
        yield GlueColumn(one["Name"], one.get("Type", ""), one.get("Comment", ""))
