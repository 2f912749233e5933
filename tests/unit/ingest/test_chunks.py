"""Tables in parts, by the place of their row versions."""

import pytest

from lambdas.ingest import chunks
from lambdas.ingest.chunks import Chunk, chunks_of
from lambdas.ingest.discovery import SourceTable

PAGE = 8192


def table(pages: int, *, out_of_line: int = 0) -> SourceTable:
    return SourceTable(
        oid=1,
        name="orders",
        bytes=pages * PAGE,
        pages=pages,
        total_bytes=pages * PAGE + out_of_line,
        is_partitioned=False,
        primary_key=("id",),
        columns=(),
    )


@pytest.mark.parametrize("pages", [0, 1, 2, 99, 100, 101, 1000])
def test_chunks_follow_each_other_from_the_first_place_on(
    monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 10 * PAGE)

    found = chunks_of(table(pages))

    assert found[0].first == 0
    assert found[-1].end is None
    assert [chunk.end for chunk in found[:-1]] == [chunk.first for chunk in found[1:]]
    assert len(found) == max(1, -(-pages // 10))


def test_values_out_of_line_make_for_smaller_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 10 * PAGE)

    assert len(chunks_of(table(10, out_of_line=90 * PAGE))) == 10


def test_chunks_that_are_searched_for_changes_are_larger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 10 * PAGE)

    assert len(chunks_of(table(80), changes_only=True)) == 2


def test_a_table_in_one_chunk_is_read_without_a_condition() -> None:
    (chunk,) = chunks_of(table(3))

    assert chunk.condition.as_string() == "true"


def test_a_chunk_is_halved_down_to_one_place() -> None:
    ahead, places = [Chunk(0, None)], []
    while ahead:
        chunk = ahead.pop()
        halves = chunk.halves(1)
        if halves is None:
            places.append(chunk)
        else:
            ahead += halves

    ordered = sorted(places, key=lambda chunk: chunk.first)
    assert [chunk.end for chunk in ordered[:-1]] == [chunk.first for chunk in ordered[1:]]
    assert all(chunk.end == chunk.first + 1 for chunk in ordered[:-1])
    assert ordered[-1].end is None
