"""From a SELECT at the source to one Parquet file, streamed and exact.

PostgreSQL's COPY writes CSV in which an empty field is a null and a quoted empty field is an
empty string; Arrow's CSV reader keeps the two apart and parses decimals and microseconds exactly.
"""

import codecs
import io
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql
from pyarrow import csv

from lambdas.ingest.discovery import SourceTable
from lambdas.ingest.raw_types import raw_type
from pipeline.errors import ValueNotHeld
from pipeline.manifest import Column

_BLOCK_BYTES = 4 * 1024 * 1024
_GROUP_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Extract:
    """A Parquet file on local disk.

    Attributes:
        path: Where it is.
        rows: How many rows it holds.
    """

    path: Path
    rows: int


class _CopyStream(io.RawIOBase):
    """PostgreSQL's COPY output as a file that is read once, in blocks of the reader's size.

    Attributes:
        longest: The size of the longest row so far: the server sends each as one message.
    """

    def __init__(self, rows: Iterable[bytes | bytearray | memoryview]) -> None:
        # Arrow takes one byte order mark off a file: the first row may begin with its own.
        self._messages = iter(chain((codecs.BOM_UTF8,), rows))
        self._rest = memoryview(b"")
        self.longest = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        filled = 0
        room = len(buffer)
        while filled < room:
            if not self._rest and not self._receive():
                break
            part = self._rest[: room - filled]
            buffer[filled : filled + len(part)] = part
            self._rest = self._rest[len(part) :]
            filled += len(part)
        return filled

    def drain(self) -> None:
        """Receives what is left: a COPY that ends early would end its snapshot too."""
        while self._receive():
            pass

    def _receive(self) -> bool:
        self._rest = memoryview(next(self._messages, b""))
        self.longest = max(self.longest, len(self._rest))
        return len(self._rest) > 0


def extract(
    connection: psycopg.Connection,
    table: SourceTable,
    columns: tuple[Column, ...],
    condition: sql.Composable,
    path: Path,
) -> Extract:
    """Writes the rows of a table that meet a condition to a Parquet file.

    Args:
        connection: A connection inside the run's snapshot.
        table: The table.
        columns: The columns to take, in the file's order.
        condition: Which rows.
        path: The file to write.

    Returns:
        The file; it is not written where no row meets the condition.

    Raises:
        ValueNotHeld: A value does not fit its column's raw type.
    """
    query = sql.SQL("copy (select {} from {} where {}) to stdout (format csv)").format(
        sql.SQL(", ").join(sql.Identifier(column.name) for column in columns),
        table.identifier,
        condition,
    )
    schema = pa.schema([(column.name, raw_type(column.source_type)) for column in columns])
    block_bytes = _BLOCK_BYTES
    while True:
        with connection.cursor() as cursor, cursor.copy(query) as copy:
            rows = iter(copy)
            first = next(rows, None)
            if first is None:
                return Extract(path, 0)
            stream = _CopyStream(chain((first,), rows))
            try:
                return Extract(path, _write(stream, schema, path, block_bytes))
            except pa.ArrowInvalid as error:
                if stream.longest <= block_bytes:
                    raise ValueNotHeld(
                        f"table {table.name}: {error}; correct the value at the source, or give "
                        "its column a type that the raw zone keeps as text"
                    ) from error
                # Arrow reads no row that is longer than a block: once more, with blocks that fit.
                stream.drain()
                block_bytes = stream.longest


def _write(stream: _CopyStream, schema: pa.Schema, path: Path, block_bytes: int) -> int:
    reader = csv.open_csv(
        stream,
        read_options=csv.ReadOptions(
            column_names=schema.names, block_size=block_bytes, use_threads=False
        ),
        parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            column_types=schema,
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    rows = 0
    pending: list[pa.RecordBatch] = []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in reader:
            pending.append(batch)
            if sum(part.nbytes for part in pending) >= _GROUP_BYTES:
                rows += _write_group(writer, schema, pending)
                pending = []
        rows += _write_group(writer, schema, pending)
    return rows


def _write_group(writer: pq.ParquetWriter, schema: pa.Schema, batches: list[pa.RecordBatch]) -> int:
    group = pa.Table.from_batches(batches, schema)
    writer.write_table(group, row_group_size=max(group.num_rows, 1))
    return int(group.num_rows)
