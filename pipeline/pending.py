"""The runs that a star table has to apply."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import SourceSchemaChanged
from pipeline.manifest import Manifest, ManifestStore
from star_schema.tables import StarTable


@dataclass(frozen=True)
class Pending:
    """The runs that a star table has not applied yet.

    Attributes:
        runs: The runs to apply, by sequence.
        captures: For each source the runs that captured it since, the newest first.
        head: The newest run that the table shows once they are applied; None if there is none.
        waits: Why the table does not show a later run; empty if it does.
        rows: How many rows a build compares, about: those captured, each key of each sweep of the
            row source, and all rows of what the SELECT joins for each run.
    """

    runs: dict[int, Manifest]
    captures: dict[str, tuple[Manifest, ...]]
    head: Manifest | None
    waits: str
    rows: int


def pending(store: ManifestStore, star: StarTable, *, after: int, through: int) -> Pending:
    """Returns the runs that a star table has to apply.

    A SELECT that joins its sources needs all of them as of one instant. A run in which Ingest could
    not take one of them is not applied: its changes are applied by the next run that has them all.

    Args:
        store: The manifests.
        star: The star table.
        after: The run through which the table has been built.
        through: The newest run to apply.

    Raises:
        SourceSchemaChanged: The newest run does not have a table that the star table reads.
    """
    reached = _reached(store, star, after=after, through=through)
    captures = {
        source: store.all_changes(source, after=after, through=reached) for source in star.sources
    }
    changed = {run.sequence for runs in captures.values() for run in runs}
    complete = (_first_complete(store, star, sequence) for sequence in sorted(changed))
    runs = {run.sequence: run for run in complete}
    return Pending(
        runs=runs,
        captures=captures,
        head=store.read(reached) if reached else None,
        waits=_not_taken(star, store.read(through)),
        rows=max(
            sum(_rows(star, source, run) for source in captures for run in captures[source]),
            sum(run.tables[source].keys for source in star.joined_sources for run in runs.values()),
        ),
    )


def pending_captures(
    store: ManifestStore, star: StarTable, *, after: int, through: int
) -> Iterator[int]:
    """Yields the rows and keys of each capture that a star table has to apply, one by one.

    No more manifests are read than those of the captures that are asked for.

    There is a capture exactly if `pending` returns a run.

    Args:
        store: As `pending` takes it.
        star: As `pending` takes it.
        after: As `pending` takes it.
        through: As `pending` takes it.

    Raises:
        SourceSchemaChanged: As `pending` raises it.
    """
    reached = _reached(store, star, after=after, through=through)
    for source in star.sources:
        for run in store.changes(source, after=after, through=reached):
            yield _rows(star, source, run)


def _rows(star: StarTable, source: str, run: Manifest) -> int:
    """Returns how many rows a star table takes from a run's capture of a source, and how many keys.

    Deletions are told from the keys of the row source alone.
    """
    capture = run.tables[source]
    is_swept = capture.key_files and source == star.row_source
    return capture.rows + (capture.keys if is_swept else 0)


def _reached(store: ManifestStore, star: StarTable, *, after: int, through: int) -> int:
    """Returns the newest run that has all that the star table joins; `after` if no later one has.

    Raises:
        SourceSchemaChanged: The newest run does not have a table that the star table reads.
    """
    newest = store.read(through)
    if missing := [source for source in star.sources if source not in newest.tables]:
        raise SourceSchemaChanged(
            f"{star.name} reads {', '.join(missing)}, which the source no longer has, or which no "
            "run could capture yet: restore the table or the rights to it, or change the star "
            "table's SELECT"
        )
    reached = through
    while reached > after and _not_taken(star, store.read(reached)):
        reached = max(_before_not_taken(star, store.read(reached)), after)
    return reached


def _before_not_taken(star: StarTable, run: Manifest) -> int:
    """Returns the run before the unbroken series of runs, up to this one, that lack a source."""
    since = (
        run.tables[source].not_taken_since
        for source in star.joined_sources
        if source in run.tables and run.tables[source].not_taken
    )
    return min((first or run.sequence for first in since), default=run.sequence) - 1


def _first_complete(store: ManifestStore, star: StarTable, sequence: int) -> Manifest:
    run = store.read(sequence)
    while _not_taken(star, run):
        run = store.read(run.sequence + 1)
    return run


def _not_taken(star: StarTable, run: Manifest) -> str:
    """Returns which joined source a run lacks, and why; empty if it lacks none."""
    for source in star.joined_sources:
        capture = run.tables.get(source)
        reason = capture.not_taken if capture else "it is not among the run's tables"
        if reason:
            return f"run {run.sequence} did not take {source}: {reason}"
    return ""
