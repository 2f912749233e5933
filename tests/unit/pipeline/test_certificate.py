"""A certificate as a document."""

import json
from typing import Any

import pytest

from pipeline.certificate import Certificate, CertifiedTable

TABLE = CertifiedTable(
    table="dim_date",
    rows=3,
    versions=3,
    rows_quarantined=0,
    waiting=0,
    source="1",
    star="1",
    lake="2",
    warehouse="2",
    snapshot=7,
    last_key=None,
)
CERTIFICATE = Certificate(
    1, "run-1", "2026-01-31T09:30:00Z", "2026-01-31T09:31:00Z", (TABLE,), (), {"sha256": "ab"}, {}
)


def test_a_certificate_is_read_as_it_was_written_in_any_layout() -> None:
    document = CERTIFICATE.to_json()

    for text in (json.dumps(document), json.dumps(document, indent=1, sort_keys=True)):
        read = Certificate.from_json(text)
        assert read == CERTIFICATE
        assert read.is_as_written


@pytest.mark.parametrize(
    "change",
    [
        {"snapshot_at": "2026-02-01T00:00:00Z"},
        {"exceptions": ["none"]},
        {"tables": []},
        {"sha256": "of something else"},
    ],
)
def test_a_certificate_that_was_edited_says_so(change: dict[str, Any]) -> None:
    assert not Certificate.from_json(json.dumps(CERTIFICATE.to_json() | change)).is_as_written


def test_a_certificate_without_a_digest_was_edited() -> None:
    document = CERTIFICATE.to_json()
    del document["sha256"]

    assert not Certificate.from_json(json.dumps(document)).is_as_written
