"""A count explains the keys only if every known key is there and every other one was captured."""

import dataclasses
import hashlib
import json
from collections.abc import Set

from hypothesis import given
from hypothesis import strategies as st

from lambdas.ingest.key_count import Counting, KeyCount, Keys
from lambdas.ingest.key_digest import KeyDigest

KEYS = st.sets(st.integers(0, 12))
GREATEST = st.sets(st.integers(-1, 13), max_size=2)


def digest(keys: Set[int]) -> KeyDigest:
    hashes = (hashlib.sha256(str(key).encode()).digest()[:8] for key in keys)
    return KeyDigest(len(keys), sum(int.from_bytes(one, signed=True) for one in hashes))


def count(now: Set[int], written: Set[int], greatest: Set[int]) -> KeyCount:
    """Returns what a scan counts of a table whose last run stored some greatest keys."""
    new = tuple(digest({key for key in written if key > one}) for one in sorted(greatest))
    return KeyCount(digest(now), digest(written), new, max(now, default=None), None, ())


@given(known=KEYS, now=KEYS, written=KEYS, greatest=GREATEST)
def test_what_is_explained_has_lost_no_key_and_shows_none_that_was_not_captured(
    known: set[int], now: set[int], written: set[int], greatest: set[int]
) -> None:
    found = count(now, now & written, greatest).compared(digest(known))

    if found is Keys.EXPLAINED:
        assert known <= now
        assert now - known <= written
    if found is Keys.UNCAPTURED:
        assert not now - written <= known


@given(known=KEYS, updated=KEYS, inserted=st.sets(st.integers(13, 20)))
def test_insertions_above_the_greatest_key_and_updates_are_explained(
    known: set[int], updated: set[int], inserted: set[int]
) -> None:
    written = (known & updated) | inserted

    counted = count(known | inserted, written, {max(known, default=0), 5})

    assert counted.compared(digest(known)) is Keys.EXPLAINED


@given(known=KEYS, written=KEYS, inserted=KEYS)
def test_insertions_alone_and_updates_alone_are_explained_without_a_greatest_key(
    known: set[int], written: set[int], inserted: set[int]
) -> None:
    new = inserted - known

    assert count(known | new, new, set()).compared(digest(known)) is Keys.EXPLAINED
    assert count(known, known & written, set()).compared(digest(known)) is Keys.EXPLAINED


@given(now=KEYS, written=KEYS, half=KEYS, greatest=GREATEST)
def test_the_counts_of_two_parts_add_up(
    now: set[int], written: set[int], half: set[int], greatest: set[int]
) -> None:
    parts = [count(part, part & written, greatest) for part in (now & half, now - half)]

    assert parts[0] + parts[1] == count(now, now & written, greatest)


def test_without_a_digest_nothing_is_explained() -> None:
    assert count({1}, set(), {1}).compared(None) is Keys.UNEXPLAINED


def test_a_count_and_how_it_is_made_are_read_back_from_json() -> None:
    counted = dataclasses.replace(count({1, 2}, {2}, {1}), transactions=(2**33, 2**33 + 1))
    counting = Counting(("a", "b"), is_integer=False, greatest=(3, 7), before=digest({1}))

    assert KeyCount.from_document(json.loads(json.dumps(dataclasses.asdict(counted)))) == counted
    assert Counting.from_document(json.loads(json.dumps(dataclasses.asdict(counting)))) == counting


def test_a_row_of_the_query_is_a_count_with_full_transaction_ids() -> None:
    counting = Counting(("id",), is_integer=True, greatest=(4, 6))
    row = ("3", "-17", "2", "5", "(0,3)", "(7,1)", "9", "8", "7,8", "1", "4", "0", "0")

    found = counting.counted(row, 2**32 + 5)

    assert found == KeyCount(
        KeyDigest(3, -17),
        KeyDigest(2, 5),
        (KeyDigest(1, 4), KeyDigest(0, 0)),
        9,
        8,
        (2**32 + 7, 2**32 + 8),
        ("(0,3)", "(7,1)"),
    )
    assert found.greatest_keys == (8, 9)
