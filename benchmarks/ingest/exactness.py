"""Compares a contender's Parquet files with the source, value by value.

The reference is psql's output. Both sides are converted to one text for each value. Numerics and
timestamps lose trailing zeros, so they are compared by value and to the microsecond.
"""

import os
import subprocess
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from benchmarks.ingest.source import PSQL, libpq_environment

_TEXT: Final = pa.large_string()
_BLOCK_BYTES = 16 * 1024 * 1024
_EXAMPLE_CHARACTERS = 40


@dataclass(frozen=True)
class Reference:
    """The source's rows.

    Attributes:
        path: A Parquet file of texts, sorted by the key.
        key: The key's column.
        types: Each column's PostgreSQL type.
    """

    path: Path
    key: str
    types: dict[str, str]


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison with the reference.

    Attributes:
        differences: The differences; none if the files are exact.
        narrower: Columns whose type cannot hold every value of the source's type.
    """

    differences: tuple[str, ...]
    narrower: tuple[str, ...] = ()


def take_reference(url: str, table: str, key: str, folder: Path) -> Reference:
    """Creates the reference from psql's CSV output.

    Args:
        url: The source database.
        table: The table.
        key: The key's column, an integer.
        folder: The folder for the reference.
    """
    with psycopg.connect(url) as connection:
        types: dict[str, str] = dict(
            connection.execute(
                "select attname::text, format_type(atttypid, atttypmod) from pg_attribute"
                " where attrelid = %s::regclass and attnum > 0 order by attnum",
                [table],
            ).fetchall()
        )
    printed = folder / "reference.csv"
    copy = f"\\copy (select * from {table} order by {key}) to '{printed}' csv"  # noqa: S608
    subprocess.run(  # noqa: S603
        [PSQL, "--quiet", "--no-psqlrc", "--command", copy],
        env=os.environ | libpq_environment(url),
        check=True,
    )
    path = folder / "reference.parquet"
    _keep(printed, types, path)
    printed.unlink()
    return Reference(path, key, types)


def _keep(printed: Path, types: dict[str, str], path: Path) -> None:
    schema = pa.schema([(name, _TEXT) for name in types])
    batches = csv.open_csv(
        printed,
        read_options=csv.ReadOptions(column_names=list(types), block_size=_BLOCK_BYTES),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=schema,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batches:
            columns = [canonical(batch[name], source_type) for name, source_type in types.items()]
            writer.write_table(pa.table(columns, schema))


def canonical(values: Any, source_type: str) -> Any:
    """Returns a column's values as texts. Equal values have equal texts.

    Args:
        values: An Arrow array, chunked or not, of any type except floating point.
        source_type: The PostgreSQL type.

    Raises:
        pa.ArrowInvalid: A value has digits below the microsecond.
    """
    if isinstance(values.type, pa.BaseExtensionType):
        values = values.cast(values.type.storage_type)
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("us", values.type.tz)).cast(pa.timestamp("us"))
    texts = values.cast(_TEXT)
    if not source_type.startswith("numeric") and not source_type.startswith("timestamp"):
        return texts
    # Arrow prints small decimals as 1E-7.
    if pc.any(pc.match_substring(texts, "E")).as_py():
        texts = pa.array([_plain(text) for text in texts.to_pylist()], _TEXT)
    shorter = pc.replace_substring_regex(texts, r"(\.\d*?)0+$", r"\1")
    return pc.replace_substring_regex(shorter, r"\.$", "")


def _plain(text: str | None) -> str | None:
    return format(Decimal(text), "f") if text and "E" in text else text


def compare(reference: Reference, folder: Path) -> Comparison:
    """Compares Parquet files with the reference.

    Args:
        reference: The source's rows.
        folder: The folder with the files, at any depth. Folders that begin with `_` are skipped.
    """
    files = [
        pq.ParquetFile(path)
        for path in sorted(folder.rglob("*.parquet"))
        if not any(part.startswith("_") for part in path.relative_to(folder).parts)
    ]
    expected = pq.ParquetFile(reference.path)
    rows = sum(file.metadata.num_rows for file in files)
    if rows != expected.metadata.num_rows:
        return Comparison((f"{rows} rows instead of {expected.metadata.num_rows}",))
    schema = files[0].schema_arrow if files else pa.schema([])
    if missing := [name for name in reference.types if name not in schema.names]:
        return Comparison((f"without {', '.join(missing)}",))
    order = _order(_column(files, reference.key))
    found = (
        _difference(
            name,
            source_type,
            _column(files, name),
            order,
            expected.read(columns=[name]).column(0),
        )
        for name, source_type in reference.types.items()
    )
    return Comparison(
        tuple(difference for difference in found if difference),
        tuple(
            f"{name} is {schema.field(name).type}"
            for name, source_type in reference.types.items()
            if source_type == "numeric" and pa.types.is_decimal(schema.field(name).type)
        ),
    )


def _column(files: list[Any], name: str) -> Any:
    chunks = [chunk for file in files for chunk in file.read(columns=[name]).column(0).chunks]
    return pa.chunked_array(chunks)


def _order(keys: Any) -> Any | None:
    """Returns the positions of the rows in key order, or None if the rows are sorted."""
    keys = keys.cast(pa.int64()).combine_chunks()
    return None if pc.all(pc.less(keys[:-1], keys[1:])).as_py() else pc.sort_indices(keys)


def _difference(
    name: str, source_type: str, values: Any, order: Any | None, expected: Any
) -> str | None:
    if pa.types.is_floating(values.type):
        return f"{name} is {values.type}"
    try:
        texts = canonical(values, source_type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        return f"{name} ({values.type}): {error}"
    if order is not None:
        texts = texts.take(order)
    same = pc.fill_null(pc.equal(texts, expected), False)
    both_null = pc.and_(pc.is_null(texts), pc.is_null(expected))
    wrong = pc.invert(pc.or_(same, both_null))
    count = pc.sum(wrong).as_py() or 0
    if not count:
        return None
    first = pc.index(wrong, True).as_py()
    return (
        f"{name}: {count} values differ, such as {_example(texts[first])} "
        f"for {_example(expected[first])}"
    )


def _example(value: Any) -> str:
    return repr(value.as_py())[:_EXAMPLE_CHARACTERS]
