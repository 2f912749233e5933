"""Manifests of runs that changed the sources of star tables."""

from collections.abc import Mapping
from typing import Final

from pipeline.manifest import Capture, Manifest, ManifestStore, Statistics, TableCapture
from star_schema.tables import star_tables

SOURCES: Final = frozenset(source for star in star_tables() for source in star.sources)


def commit_run(store: ManifestStore, sequence: int, changed_in: Mapping[str, int]) -> None:
    """Commits a run whose manifest says in which run each source changed last."""
    tables = {name: _capture(run, sequence) for name, run in changed_in.items()}
    store.commit(Manifest(sequence, f"run-{sequence}", "2026-01-31T09:30:00Z", "1", 1, tables))


def _capture(changed_in: int, sequence: int) -> TableCapture:
    return TableCapture(
        capture=Capture.CHANGES if changed_in == sequence else Capture.NONE,
        rows=0,
        files=(),
        key_files=(),
        not_held=0,
        quarantine_files=(),
        keys_swept=False,
        columns=(),
        primary_key=(),
        table_oid=1,
        horizon=1,
        statistics=Statistics(0, 0, 0, 1, None),
        content_digest=None,
        changed_in=changed_in,
        previous_change=0,
    )
