"""Sources as Ingest's fingerprints tell of them, without the source."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from lambdas.load.source_fingerprints import SourceFingerprints
from pipeline.fingerprints import StarFingerprints
from tests.fixtures.lake import ARROW_TYPES, STAR, star_row
from tests.oracle.fingerprints import fingerprint
from tests.oracle.star import RECORD_IDS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def made_columns(table: str) -> tuple[str, ...]:
    """Returns the columns that a table's SELECT makes, the natural key first."""
    own = {RECORD_IDS.get(table), "is_deleted", "run_id"}
    return tuple(column.name for column in STAR[table] if column.name not in own)


@dataclass
class MadeUpSource:
    """What a source is said to make of the star tables.

    Attributes:
        bucket: The raw bucket.
        client: The S3 client.
        tables: The fingerprints so far; a table that none were made of has no rows.
    """

    bucket: str
    client: "S3Client"
    tables: dict[str, StarFingerprints] = field(
        default_factory=lambda: {name: StarFingerprints(name, made_columns(name)) for name in STAR}
    )

    def makes(
        self,
        table: str,
        *rows: Mapping[str, Any],
        waiting: Mapping[int, str] | None = None,
        is_cumulative: bool = False,
    ) -> None:
        """Adds rows, of which only some columns are given, and keys that wait somewhere."""
        columns = made_columns(table)
        filled = [star_row(table, **row) for row in rows]
        made: list[tuple[Any, str | None, str | None]] = [
            (row[columns[0]], fingerprint([row[name] for name in columns]), None) for row in filled
        ]
        made += [(key, None, where) for key, where in (waiting or {}).items()]
        files = self.tables[table].files
        key = f"fingerprints/{table}-{len(files)}.parquet"
        self._put(key, table, made)
        self.tables[table] = StarFingerprints(table, columns, (*files, key), is_cumulative)

    def makes_one_row(self, *tables: str) -> None:
        """Adds a row to each of some tables, with something in every column."""
        for table in tables:
            self.makes(table, {})

    def fingerprints(self) -> SourceFingerprints:
        """Returns what Load is told."""
        return SourceFingerprints(self.bucket, self.client, tuple(self.tables.values()))

    def _put(self, key: str, table: str, rows: list[tuple[Any, ...]]) -> None:
        kind = next(column.type for column in STAR[table] if column.name == made_columns(table)[0])
        schema = pa.schema(
            {"key": ARROW_TYPES[kind], "fingerprint": pa.string(), "waits_in": pa.string()}
        )
        held = io.BytesIO()
        named = [dict(zip(schema.names, row, strict=True)) for row in rows]
        pq.write_table(pa.Table.from_pylist(named, schema=schema), held)
        self.client.put_object(Bucket=self.bucket, Key=key, Body=held.getvalue())
