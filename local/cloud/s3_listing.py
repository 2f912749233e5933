"""A page of a bucket's keys takes as long as the page, however many keys the bucket has.

MiniStack looks at all keys of the bucket for each page. Spark asks for a page for each file that it
reads, so a build of many runs took as many steps as the square of its files.
"""

from collections.abc import Iterator
from typing import Any, Final

from ministack.services import s3
from sortedcontainers import SortedDict

_AFTER_ALL: Final = chr(0x10FFFF)


def patch() -> None:
    """Has MiniStack keep a bucket's objects in the order of their keys, and list them by it."""
    found = s3._ensure_bucket

    def ensure_bucket(name: str) -> dict[str, Any] | None:
        bucket: dict[str, Any] | None = found(name)
        if bucket is not None and not isinstance(bucket["objects"], SortedDict):
            bucket["objects"] = SortedDict(bucket["objects"])
        return bucket

    s3._ensure_bucket = ensure_bucket
    s3._collect_list_entries = page


def page(
    objects: SortedDict, prefix: str, delimiter: str, most: int, after: str
) -> tuple[list[str], list[str], bool, str]:
    """Returns a page of a listing, as MiniStack's function of the same arguments does.

    Returns:
        The keys, the common prefixes, whether there is more, and the last of both.
    """
    contents: list[str] = []
    groups: list[str] = []
    last = ""
    for entry, is_group in _entries(objects, prefix, delimiter, after):
        if len(contents) + len(groups) == most:
            return contents, groups, True, last
        (groups if is_group else contents).append(entry)
        last = entry
    return contents, groups, False, last


def _entries(
    objects: SortedDict, prefix: str, delimiter: str, after: str
) -> Iterator[tuple[str, bool]]:
    """Yields keys and, once each, common prefixes, with whether it is one."""
    start: str | None = max(prefix, after)
    while start is not None:
        keys, start = objects.irange(start), None
        for key in keys:
            if not key.startswith(prefix):
                return
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            entry = prefix + head + delimiter if found else key
            if entry > after:
                yield entry, bool(found)
            if found:
                start = entry + _AFTER_ALL
                break
