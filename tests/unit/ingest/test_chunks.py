"""Tables in parts, by the place of their row versions."""

import pytest

from lambdas.ingest import chunks
from lambdas.ingest.chunks import Chunk, chunks_of
from lambdas.ingest.discovery import SourceTable
from lambdas.ingest.leaves import Leaf

PAGE = 8192


def leaf(oid: int, pages: int, *, out_of_line: int = 0, is_foreign: bool = False) -> Leaf:
    return Leaf(
        oid=oid,
        schema="public",
        name=f"orders_{oid}",
        file_node=oid,
        is_foreign=is_foreign,
        is_named=True,
        bytes=pages * PAGE,
        pages=pages,
        total_bytes=pages * PAGE + out_of_line,
    )


def table_of(*leaves: Leaf) -> SourceTable:
    return SourceTable(1, "orders", "public", "orders", ("id",), (), leaves)


def table(pages: int, *, out_of_line: int = 0) -> SourceTable:
    return table_of(leaf(1, pages, out_of_line=out_of_line))


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


def test_each_leaf_has_chunks_of_its_own_except_an_empty_one() -> None:
    found = chunks_of(table_of(leaf(2, 3), leaf(3, 0), leaf(4, 3), leaf(5, 0, is_foreign=True)))

    assert [(chunk.leaf, chunk.first, chunk.end) for chunk in found] == [
        (2, 0, None),
        (4, 0, None),
        (5, 0, None),
    ]


def test_a_table_whose_leaves_are_all_empty_is_read_once() -> None:
    assert len(chunks_of(table_of(leaf(2, 0), leaf(3, 0)))) == 1
    assert chunks_of(table_of()) == ()


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


@pytest.mark.parametrize(("first", "last"), [("(0,1)", "(0,1)"), ("(3,7)", "(12,290)")])
def test_a_part_of_a_chunk_has_its_first_and_its_last_place(first: str, last: str) -> None:
    part = Chunk(0, None, leaf=5).within(first, last)

    page, line = last.strip("()").split(",")
    assert part.leaf == 5
    assert part.condition.as_string() == (
        f"ctid >= '{first}' and ctid < '({page},{int(line) + 1})'"
    )
