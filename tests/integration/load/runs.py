"""Manifests of runs that changed the sources of star tables."""

from collections.abc import Mapping
from typing import Final

from pipeline.manifest import Manifest, ManifestStore
from star_schema.tables import star_tables
from tests.fixtures.captures import capture_of

SOURCES: Final = frozenset(source for star in star_tables() for source in star.sources)


def commit_run(store: ManifestStore, sequence: int, changed_in: Mapping[str, int]) -> None:
    """Commits a run whose manifest says in which run each source changed last."""
    tables = {name: capture_of(run, sequence) for name, run in changed_in.items()}
    store.commit(Manifest(sequence, f"run-{sequence}", "2026-01-31T09:30:00Z", "1", 1, tables))
