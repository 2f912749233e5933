"""A page of keys is the one that MiniStack's own search of all keys finds."""

from collections.abc import Iterator

from hypothesis import example, given
from hypothesis import strategies as st
from ministack.services import s3
from sortedcontainers import SortedDict

from local.cloud import s3_listing

KEYS = st.sets(st.text("ab/é", min_size=1, max_size=5))
TEXTS = st.text("ab/é", max_size=3)


@given(KEYS, TEXTS, st.sampled_from(["", "/", "ab"]), st.integers(1, 4), TEXTS)
@example({"a/b/c", "a/b/d", "a/c", "b"}, "a/", "/", 1, "a/b/")
def test_a_page_is_the_one_that_a_search_of_all_keys_finds(keys, prefix, delimiter, most, after):
    objects = SortedDict.fromkeys(keys)
    assert s3_listing.page(objects, prefix, delimiter, most, after) == s3._collect_list_entries(
        dict(objects), prefix, delimiter, most, after
    )


def test_a_page_ends_at_its_last_key():
    class Keys:
        def irange(self, minimum: str) -> Iterator[str]:
            for key in keys.irange(minimum):
                looked_at.append(key)
                yield key

    looked_at: list[str] = []
    keys = SortedDict.fromkeys([*(f"raw/{number:04}" for number in range(1000)), "scripts/a"])

    assert s3_listing.page(Keys(), "raw/", "/", 2, "raw/0500")[0] == ["raw/0501", "raw/0502"]
    assert looked_at == ["raw/0500", "raw/0501", "raw/0502", "raw/0503"]
