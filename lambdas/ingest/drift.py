"""Schema drift: tables and columns that were added, dropped or retyped since the last run."""

from collections.abc import Iterable, Set

from lambdas.ingest.discovery import SourceTable
from lambdas.ingest.raw_zone import RawZone
from lambdas.ingest.scope import Scope
from pipeline.manifest import Manifest


def drift(
    previous: Manifest | None,
    tables: Iterable[SourceTable],
    not_taken: Set[str],
    scope: Scope,
    bucket: str,
) -> tuple[str, ...]:
    """Returns a warning for each table and column that was added, dropped or retyped.

    Args:
        previous: The newest committed run.
        tables: The tables of the source.
        not_taken: Tables whose entry in the manifest stays as it was.
        scope: What is captured of the source.
        bucket: The raw bucket, where what was captured before stays.
    """
    if previous is None:
        return ()
    now = {table.name: table for table in tables if table.name not in not_taken}
    gone = previous.tables.keys() - now.keys() - not_taken
    warnings = [f"table {name} is new" for name in sorted(now.keys() - previous.tables.keys())]
    warnings += [_gone(name, scope, bucket) for name in sorted(gone)]
    for name in sorted(now.keys() & previous.tables.keys()):
        before = {column.name: column.source_type for column in previous.tables[name].columns}
        after = {column.name: column.source_type for column in now[name].columns}
        warnings += [f"column {name}.{c} is new" for c in sorted(after.keys() - before.keys())]
        warnings += [
            _gone_column(now[name], c, scope, bucket) for c in sorted(before.keys() - after.keys())
        ]
        warnings += [
            f"column {name}.{c} was {before[c]} and is now {after[c]}"
            for c in sorted(after.keys() & before.keys())
            if after[c] != before[c]
        ]
    return tuple(warnings)


def _gone(name: str, scope: Scope, bucket: str) -> str:
    if scope.leaves_out(name):
        what = "is left out"
    elif scope.lacks_schema_of(name):
        what = "is gone, or is of a schema that SourceSchemas does not name"
    else:
        return f"table {name} is gone"
    return f"table {name} {what}; what was captured before stays in {_places(name, bucket)}"


def _gone_column(table: SourceTable, column: str, scope: Scope, bucket: str) -> str:
    name = f"{table.name}.{column}"
    if not scope.leaves_out_column(table.schema, table.relation, column):
        return f"column {name} is gone"
    places = _places(table.name, bucket)
    return f"column {name} is left out; what was captured before stays in {places}"


def _places(name: str, bucket: str) -> str:
    prefixes = (RawZone.ROWS, RawZone.KEYS, RawZone.QUARANTINE)
    return ", ".join(f"s3://{bucket}/{prefix}/{name}/" for prefix in prefixes)
