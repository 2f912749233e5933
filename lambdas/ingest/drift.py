"""Schema drift: tables and columns that were added, dropped or retyped since the last run."""

from collections.abc import Iterable, Set

from lambdas.ingest.discovery import SourceTable
from pipeline.manifest import Manifest


def drift(
    previous: Manifest | None, tables: Iterable[SourceTable], not_taken: Set[str]
) -> tuple[str, ...]:
    """Returns a warning for each table and column that was added, dropped or retyped.

    Args:
        previous: The newest committed run.
        tables: The tables of the source.
        not_taken: Tables whose entry in the manifest stays as it was.
    """
    if previous is None:
        return ()
    now = {table.name: table for table in tables if table.name not in not_taken}
    gone = previous.tables.keys() - now.keys() - not_taken
    warnings = [f"table {name} is new" for name in sorted(now.keys() - previous.tables.keys())]
    warnings += [f"table {name} is gone" for name in sorted(gone)]
    for name in sorted(now.keys() & previous.tables.keys()):
        before = {column.name: column.source_type for column in previous.tables[name].columns}
        after = {column.name: column.source_type for column in now[name].columns}
        warnings += [f"column {name}.{c} is new" for c in sorted(after.keys() - before.keys())]
        warnings += [f"column {name}.{c} is gone" for c in sorted(before.keys() - after.keys())]
        warnings += [
            f"column {name}.{c} was {before[c]} and is now {after[c]}"
            for c in sorted(after.keys() & before.keys())
            if after[c] != before[c]
        ]
    return tuple(warnings)
