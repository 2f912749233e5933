"""A row in the raw zone: what each run captured of it, and what the SELECT makes of that.

Which runs count, and which captures show deletions, is the Build's own decision, of which this
module uses the functions.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io import FileIO

from glue_jobs.build.raw_views import shows_all_keys
from lineage.star_rows import Made, made_of
from lineage.values import unpadded
from pipeline.errors import ObjectMissing, RawFilesChanged
from pipeline.manifest import Manifest, ManifestStore, TableCapture
from pipeline.pending import pending
from pipeline.written_files import Written, unlike_written
from star_schema.sources import declared_source
from star_schema.tables import StarTable


@dataclass(frozen=True)
class RawRow:
    """Where the raw zone has a row.

    Attributes:
        file: The file's key in the raw bucket.
        row: The row's number in the file, from 1.
    """

    file: str
    row: int


@dataclass(frozen=True)
class Seen:
    """What a run says of a row.

    Attributes:
        run: The run's manifest.
        capture: How it captured the row's table.
        raw: Where the raw zone has the row; None if this run did not capture it.
        made: What the SELECT makes of it; None without a captured row.
        not_held: Why the raw zone cannot hold the row; empty if it can.
        keys: The files whose keys lack the row, which was therefore deleted.
        is_gone: Whether the run shows that the source no longer has the row.
        joined: For each joined source the run that captured its rows.
    """

    run: Manifest
    capture: str
    raw: RawRow | None = None
    made: Made | None = None
    not_held: str = ""
    keys: tuple[str, ...] = ()
    is_gone: bool = False
    joined: tuple[tuple[str, int], ...] = ()


class RawHistory:
    """The history of one key of a star table in the raw zone.

    Args:
        store: The manifests.
        io: Reads its files.
        star: The star table, which has a row source.
        key: The natural key, as text.
    """

    def __init__(self, store: ManifestStore, io: FileIO, star: StarTable, key: str) -> None:
        self._store = store
        self._io = io
        self._star = star
        self._key = key
        self._source = str(star.row_source)
        self._name = declared_source(self._source).natural_key
        self._whole: dict[tuple[str, ...], pa.Table] = {}

    @cached_property
    def newest(self) -> Manifest | None:
        """The newest run."""
        return self._store.newest()

    def seen(self) -> Iterator[Seen]:
        """Yields what each run says of the row, the oldest first.

        Raises:
            SourceSchemaChanged: The newest run does not have a table of the star table.
            ObjectMissing: A raw file is missing.
            RawFilesChanged: A raw file is not the one that Ingest wrote.
        """
        if self.newest is None:
            return
        todo = pending(self._store, self._star, after=0, through=self.newest.sequence)
        captured = {run.sequence for run in todo.captures[self._source]}
        for sequence, run in sorted(todo.runs.items()):
            if self._star.joined_sources:
                found = self._of_state(sequence, run)
            elif sequence in captured:
                found = self._of_capture(run)
            else:
                continue
            if found.raw or found.is_gone or found.not_held:
                yield found

    def _of_capture(self, run: Manifest) -> Seen:
        capture = run.tables[self._source]
        found = self._find(capture, capture.written_files)
        seen = self._about(Seen(run, str(capture.capture)), capture, found)
        if found is None:
            return seen
        rows = {self._source: _completed(found[1], self._columns(self._source))}
        return replace(seen, made=made_of(self._star, rows, self._key))

    def _of_state(self, sequence: int, run: Manifest) -> Seen:
        """Returns what a run says by the state of all joined sources as of then."""
        states = {
            source: next(iter(self._store.changes(source, after=0, through=sequence)), None)
            for source in self._star.sources
        }
        captures = {name: state.tables[name] for name, state in states.items() if state}
        capture = captures[self._source]
        found = self._find(capture, capture.written_files)
        of = tuple((name, state.sequence) for name, state in states.items() if state)
        seen = self._about(Seen(run, str(capture.capture), joined=of), capture, found)
        if found is None:
            return seen
        rows = {name: self._all(one, name) for name, one in captures.items()}
        return replace(seen, made=made_of(self._star, rows, self._key))

    def _about(
        self, seen: Seen, capture: TableCapture, found: tuple[RawRow, pa.Table] | None
    ) -> Seen:
        seen = replace(seen, not_held=self._not_held(capture))
        if found:
            seen = replace(seen, raw=found[0])
        shows_keys = shows_all_keys(capture, self._name)
        if not shows_keys or (found and not capture.key_files):
            return seen
        files = capture.written_key_files or capture.written_files
        return replace(seen, keys=tuple(files), is_gone=self._find(capture, files) is None)

    def _not_held(self, capture: TableCapture) -> str:
        """Returns why values of the row are in the raw zone's quarantine."""
        lines = [
            line
            for file in capture.quarantine_files
            for line in self._table(file, Written()).to_pylist()
        ]
        texts = [str(json.loads(line["source_row"]).get(self._name)) for line in lines]
        keys = unpadded(pa.table({self._name: pa.array(texts, pa.string())}), capture.columns)
        reasons = [
            f"{line['column_name']} is {line['value']!r}: {line['reason']}"
            for line, key in zip(lines, keys.column(0).to_pylist(), strict=True)
            if key == self._key
        ]
        return "; ".join(reasons)

    def _find(
        self, capture: TableCapture, files: Mapping[str, Written]
    ) -> tuple[RawRow, pa.Table] | None:
        """Returns a row's place and the row. It reads the keys, and the row group of the row."""
        for file, written in files.items():
            with self._opened(file, written) as parquet:
                before = 0
                for group in range(parquet.num_row_groups):
                    if not self._may_have(parquet, group):
                        before += parquet.metadata.row_group(group).num_rows
                        continue
                    read = parquet.read_row_group(group, columns=[self._name])
                    keys = unpadded(read, capture.columns).column(0)
                    place = pc.index(pc.cast(keys, pa.string()), self._key).as_py()
                    if place >= 0:
                        rows = parquet.read_row_group(group).slice(place, 1)
                        return RawRow(file, before + place + 1), unpadded(rows, capture.columns)
                    before += len(keys)
        return None

    def _may_have(self, parquet: pq.ParquetFile, group: int) -> bool:
        """Whether the key lies between the least and the greatest integer key of a row group."""
        described = parquet.metadata.row_group(group)
        columns = (described.column(number) for number in range(described.num_columns))
        held = next((one for one in columns if one.path_in_schema == self._name), None)
        bounds = held.statistics if held is not None else None
        if bounds is None or not bounds.has_min_max or not isinstance(bounds.min, int):
            return True
        return bool(bounds.min <= int(self._key) <= bounds.max)

    def _all(self, capture: TableCapture, source: str) -> pa.Table:
        """Returns all rows of a capture. A table that is joined is captured whole."""
        if capture.files not in self._whole:
            columns = self._columns(source)
            files = capture.written_files.items()
            tables = [
                _completed(unpadded(self._table(file, written), capture.columns), columns)
                for file, written in files
            ]
            self._whole[capture.files] = (
                pa.concat_tables(tables, promote_options="permissive")
                if tables
                else pa.table({name: pa.array([], pa.string()) for name in columns})
            )
        return self._whole[capture.files]

    def _columns(self, source: str) -> tuple[str, ...]:
        tables = self.newest.tables if self.newest else {}
        return tuple(column.name for column in tables[source].columns)

    def _table(self, file: str, written: Written) -> pa.Table:
        with self._opened(file, written) as parquet:
            return parquet.read()

    def _opened(self, file: str, written: Written) -> pq.ParquetFile:
        """Opens a raw file as it was written."""
        objects = self._store.objects
        address, found = objects.address(file), objects.find(file)
        if found is None:
            raise ObjectMissing(f"{address} is missing: restore it from its versions")
        if difference := unlike_written(objects, found, written):
            raise RawFilesChanged(f"{address} {difference}: restore the object's previous version")
        return pq.ParquetFile(self._io.new_input(address).open())


def _completed(rows: pa.Table, columns: tuple[str, ...]) -> pa.Table:
    """Returns rows with the columns that the source has had since: nulls, as the Build has them."""
    for name in columns:
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.nulls(len(rows), pa.string()))
    return rows
