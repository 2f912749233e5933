"""The digest of a table's keys: two states of a table compare without reading either of them."""

from dataclasses import dataclass
from typing import Self

VERSION = 1
"""Version of the digest's formula. Digests of other versions cannot be compared."""
_UNVERSIONED_PARTS = 2


@dataclass(frozen=True)
class KeyDigest:
    """The number of rows and the sum of their keys' 64-bit hashes. The order does not matter.

    The digest of a part of the rows can be subtracted, and that of other rows added.
    """

    rows: int
    total: int

    def __add__(self, other: Self) -> Self:
        return type(self)(self.rows + other.rows, self.total + other.total)

    def __sub__(self, other: Self) -> Self:
        return type(self)(self.rows - other.rows, self.total - other.total)

    def __str__(self) -> str:
        return f"{VERSION}:{self.rows}:{self.total}"

    def may_lack_only(self, other: Self) -> bool:
        """Whether this can be the digest of some or all of the other digest's rows."""
        return self.rows < other.rows or self == other

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Returns the digest of a manifest; None if there is none, or one of another version.

        Manifests of the first release have digests without a version: theirs is version 1.
        """
        parts = [int(part) for part in text.split(":")] if text else []
        if len(parts) == _UNVERSIONED_PARTS:
            parts = [1, *parts]
        if len(parts) != _UNVERSIONED_PARTS + 1 or parts[0] != VERSION:
            return None
        return cls(parts[1], parts[2])
