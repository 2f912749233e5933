"""Through which instant the warehouse is complete."""

from datetime import UTC, datetime, timedelta

import boto3
import pytest

from pipeline.answers import IngestAnswer
from pipeline.freshness import Freshness, complete_as_of
from pipeline.manifest import Manifest, ManifestStore
from tests.fixtures.captures import capture_of

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
INGESTED = IngestAnswer(True, 3, False, 0, 0.1, 0, 0.0, 2, snapshot_at="2026-01-31T11:59:00Z")


@pytest.fixture
def store(moto_bucket: str) -> ManifestStore:
    """Runs 1, 2 and 3, of 11:01, 11:02 and 11:03. Run 2 did not take `staff`, run 3 not `note`."""
    made = ManifestStore(moto_bucket, boto3.client("s3"))
    tables = [
        {"staff": (1, ""), "note": (1, "")},
        {"staff": (1, "no right"), "note": (2, "")},
        {"staff": (3, ""), "note": (2, "no right")},
    ]
    for sequence, captures in enumerate(tables, 1):
        held = {
            name: capture_of(changed_in, sequence, not_taken=why)
            for name, (changed_in, why) in captures.items()
        }
        at = f"2026-01-31T11:0{sequence}:00Z"
        made.commit(Manifest(sequence, f"run-{sequence}", at, "1", 1, held))
    return made


@pytest.mark.parametrize(
    ("through", "ingested", "needed", "clock"),
    [
        (3, INGESTED, ["staff"], "11:59"),  # nothing new, or the run that was loaded
        (3, None, ["staff"], "11:03"),  # the source was not seen
        (2, INGESTED, ["note"], "11:02"),  # a star table is behind
        (2, INGESTED, ["staff"], "11:01"),  # the run lacks a table
        (3, INGESTED, ["staff", "note"], "11:01"),  # each run lacks another one
    ],
)
def test_the_warehouse_is_complete_through_the_newest_snapshot_that_it_shows_whole(
    store: ManifestStore,
    through: int,
    ingested: IngestAnswer | None,
    needed: list[str],
    clock: str,
) -> None:
    found = complete_as_of(store, ingested, through, needed)

    assert found is not None
    assert found.strftime("%H:%M") == clock


def test_before_the_first_load_nothing_is_complete(store: ManifestStore) -> None:
    assert complete_as_of(store, INGESTED, 0, ["staff"]) is None
    assert complete_as_of(store, INGESTED, 3, ["never taken"]) is None


def test_freshness_is_an_age_and_never_negative() -> None:
    assert Freshness.at(NOW - timedelta(minutes=2), NOW).seconds == 120.0
    assert Freshness.at(NOW + timedelta(seconds=5), NOW).seconds == 0.0
