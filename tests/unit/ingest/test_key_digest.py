"""Digests of keys tell whether rows came, went, or appeared without having been written."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.ingest.key_digest import KeyDigest

KEYS = st.sets(st.integers(0, 30))


def digest(keys: set[int]) -> KeyDigest:
    # Python's own hash of small tuples is linear enough for the sums of a few to be equal.
    hashes = (hashlib.sha256(str(key).encode()).digest()[:8] for key in keys)
    return KeyDigest(len(keys), sum(int.from_bytes(one, signed=True) for one in hashes))


@given(KEYS, KEYS)
def test_the_digest_of_a_part_subtracts(keys: set[int], part: set[int]) -> None:
    assert digest(keys) - digest(keys & part) == digest(keys - part)


@given(KEYS, KEYS)
def test_a_part_is_never_taken_for_more_than_its_whole(keys: set[int], part: set[int]) -> None:
    assert digest(keys & part).may_lack_only(digest(keys))


@given(KEYS, KEYS)
def test_as_many_other_keys_or_more_keys_are_no_part(keys: set[int], others: set[int]) -> None:
    if len(others) >= len(keys) and others != keys:
        assert not digest(others).may_lack_only(digest(keys))


@given(KEYS, KEYS)
def test_the_digests_of_two_parts_add_up(keys: set[int], part: set[int]) -> None:
    assert digest(keys & part) + digest(keys - part) == digest(keys)


@given(KEYS)
def test_a_digest_reads_back(keys: set[int]) -> None:
    assert KeyDigest.parse(str(digest(keys))) == digest(keys)


def test_a_digest_of_the_first_release_is_of_version_1() -> None:
    assert KeyDigest.parse("3:-17") == KeyDigest(3, -17)


@pytest.mark.parametrize("text", [None, "2:3:-17"])
def test_no_digest_or_one_of_another_version_is_not_comparable(text: str | None) -> None:
    assert KeyDigest.parse(text) is None
