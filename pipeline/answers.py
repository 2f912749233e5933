"""What each function answers to the state machine: bounded, whatever the source holds.

AWS Step Functions ends an execution whose payload exceeds 256 KiB, by an error that no state can
catch (Developer Guide, "Step Functions service quotas"; States.DataLimitExceeded). An answer
therefore has counts, the first of the names, and the key of the report that has the full lists.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

MOST_NAMES = 20
"""How many names or messages an answer has of a list."""
LONGEST_NAME = 300
"""How many characters it has of each."""
_ROOM = 6_400
"""How many characters the list has as JSON, in which one character takes up to twelve."""


@dataclass(frozen=True)
class Names:
    """A list of names or messages, cut to a bounded size.

    Attributes:
        count: How many there are.
        first: At most the first 20 of them, each cut to 300 characters.
    """

    count: int = 0
    first: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """Returns a list, cut."""
        every = tuple(names)
        first: list[str] = []
        room = _ROOM
        for name in every[:MOST_NAMES]:
            cut = name[:LONGEST_NAME]
            room -= len(json.dumps(cut))
            if room < 0:
                break
            first.append(cut)
        return cls(len(every), tuple(first))


@dataclass(frozen=True)
class Failure:
    """Why an execution has to fail after all that could be done has been done.

    Attributes:
        error: The name of a class of pipeline/errors.py.
        cause: What happened, to which tables, and what to do.
    """

    error: str
    cause: str

    def __post_init__(self) -> None:
        """Bounds the cause."""
        object.__setattr__(self, "cause", _cut(self.cause, _ROOM))


@dataclass(frozen=True)
class _Answer:
    def to_json(self) -> dict[str, Any]:
        """Returns the answer as a JSON document."""
        document: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Reads what `to_json` gave."""
        fields = dict(document)
        for name, value in document.items():
            if name == "failure" and value is not None:
                fields[name] = Failure(**value)
            elif isinstance(value, Mapping):
                fields[name] = Names(value["count"], tuple(value["first"]))
        return cls(**fields)


@dataclass(frozen=True)
class IngestAnswer(_Answer):
    """What an ingest did.

    Attributes:
        complete: Whether all of the run is done; if not, the same request goes on from there.
        sequence: The newest committed run; 0 if there is none.
        committed: Whether this ingest committed it.
        rows: Rows written to the raw zone.
        seconds: How long it took.
        scanned_bytes: The size of the tables that were read at the source.
        longest_query_seconds: The longest that one query kept a reader at the source.
        tables: How many tables the source has.
        tables_not_taken: The tables that could not be taken; their cursors did not move.
        failure: Set if a star table needs one of those, or the input asked for it.
        unbuilt: The star tables that have runs to apply.
        build_jobs: How many jobs build them: 0 if there are none, 1 for a small build, 2 otherwise.
        warnings: What somebody should know of.
        snapshot_at: The instant that the run shows of the source, whether it was committed or not.
        report: The key of the report in the raw bucket; empty until the run is complete.
    """

    complete: bool
    sequence: int
    committed: bool
    rows: int
    seconds: float
    scanned_bytes: int
    longest_query_seconds: float
    tables: int
    tables_not_taken: Names = Names()
    failure: Failure | None = None
    unbuilt: Names = Names()
    build_jobs: int = 0
    warnings: Names = Names()
    snapshot_at: str = ""
    report: str = ""


@dataclass(frozen=True)
class LoadAnswer(_Answer):
    """What a load did.

    Attributes:
        complete: Whether the warehouse shows the run; if not, the same request goes on from there.
        sequence: The run that was asked for.
        through: The run through which every star table is loaded.
        rows: Rows added and changed, in all tables.
        seconds: How long it took.
        facts_waiting: Fact rows that wait in the warehouse for their dimension rows.
        rows_quarantined: Source rows that the builds of the loaded runs put into the quarantine.
        broken_rules: The rules that quarantined and waiting rows break, with their numbers.
        tables_verified: How many star tables were proved equal; None if that was not asked for.
        failure: Set if a star table could not be loaded, or is loaded through an earlier run than
            that, or if the proof that was asked for failed.
        report: The key of the report in the raw bucket; empty until the load is complete.
    """

    complete: bool
    sequence: int
    through: int
    rows: int = 0
    seconds: float = 0.0
    facts_waiting: int = 0
    rows_quarantined: int = 0
    broken_rules: Names = Names()
    tables_verified: int | None = None
    failure: Failure | None = None
    report: str = ""


@dataclass(frozen=True)
class PublishAnswer(_Answer):
    """What a publication did.

    Attributes:
        seconds: How long it took.
        tables_catalogued: How many raw tables have new entries in the Glue Data Catalog.
        extracts: The addresses of the extracts that were written.
        previews: How many star tables' first rows were logged.
        data_as_of: The instant through which the warehouse is complete; empty before a load.
        freshness_seconds: How long ago that was.
        cost_usd: The estimated cost of the execution so far; None if it is not known.
        message: What the execution did, in a sentence.
        page: The address of the page of the run.
        certificate: The address of the certificate; empty if the run was not verified.
        failure: Set if the warehouse does not have what the executions have loaded.
        report: The key of the report in the raw bucket.
    """

    seconds: float
    tables_catalogued: int = 0
    extracts: Names = Names()
    previews: int = 0
    data_as_of: str = ""
    freshness_seconds: float | None = None
    cost_usd: float | None = None
    message: str = ""
    page: str = ""
    certificate: str = ""
    failure: Failure | None = None
    report: str = ""

    def __post_init__(self) -> None:
        """Bounds the message."""
        object.__setattr__(self, "message", _cut(self.message, _ROOM))


def _cut(text: str, room: int) -> str:
    """Returns the beginning of a text that has at most so many characters as JSON."""
    while len(json.dumps(text)) > room:
        text = text[: len(text) * room // len(json.dumps(text))]
    return text
