"""Names of a Parquet file's columns that differ by case alone.

DuckDB's names do not depend on case: of two such columns it renames one. The file is written with
other names, which are then replaced in its footer.
"""

import os
from collections.abc import Mapping
from pathlib import Path

_MAGIC = b"PAR1"
_TAIL = 8
"""The footer's length in four bytes, and the magic number (Parquet's "File Format")."""


def rename_columns(path: Path, names: Mapping[str, str]) -> None:
    """Renames columns of a Parquet file.

    The footer is in Thrift's compact protocol. A name in it is a string after its length, and
    nothing else in it depends on a name's length.

    Args:
        path: The file.
        names: The new name of each column. The old names must occur nowhere else in the footer.
    """
    with path.open("r+b") as file:
        file.seek(-_TAIL, os.SEEK_END)
        length = int.from_bytes(file.read(_TAIL)[: -len(_MAGIC)], "little")
        file.seek(-_TAIL - length, os.SEEK_END)
        start = file.tell()
        footer = file.read(length)
        for old, new in names.items():
            footer = footer.replace(_string(old), _string(new))
        file.seek(start)
        file.write(footer + len(footer).to_bytes(4, "little") + _MAGIC)
        file.truncate()


def _string(text: str) -> bytes:
    # PostgreSQL's names have at most 63 bytes, so that their length is one byte.
    encoded = text.encode()
    return bytes([len(encoded)]) + encoded
