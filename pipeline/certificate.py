"""The certificate of a verified run: what was proved equal, of which code and schema."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from pipeline.errors import InvalidInput

FORMAT: Final = 1
_DIGEST: Final = "sha256"
_CODE: Final = frozenset({".py", ".sql", ".toml"})


@dataclass(frozen=True)
class Digests:
    """Digests of a star table's rows, which do not depend on their order.

    Attributes:
        source: Of the rows that the source gave and the star schema showed.
        star: Of the star schema's current rows that are those.
        lake: Of all rows of the star schema, history included.
        warehouse: Of the rows of the warehouse, those in waiting_row included.
        snapshot: The id of the lake table's snapshot; None for a table that no build had made.
        last_key: The greatest record id of a fact; None for a dimension, and without rows.
    """

    source: str
    star: str
    lake: str
    warehouse: str
    snapshot: int | None
    last_key: int | None


@dataclass(frozen=True)
class CertifiedTable(Digests):
    """A star table of which source, star schema and warehouse had the same rows.

    Attributes:
        table: The star table.
        rows: Source rows that the star schema showed.
        versions: Rows of the star schema that the warehouse showed, history included.
        rows_quarantined: Source rows that waited in a quarantine.
        waiting: Rows of the star schema that waited in the warehouse.
    """

    table: str
    rows: int
    versions: int
    rows_quarantined: int
    waiting: int


@dataclass(frozen=True)
class Certificate:
    """What a verified run proved.

    Attributes:
        sequence: The run.
        run_id: The execution that proved it.
        snapshot_at: The instant of the source that was compared.
        verified_at: When it was proved.
        tables: The star tables.
        exceptions: The rules that rows which wait break, each with the number of rows.
        code: The SHA-256 of the code that compared the rows, and the version of the function.
        schema: The migrations of the warehouse, with the SHA-256 of each.
        is_as_written: Whether the document has the digest that it was written with.
    """

    sequence: int
    run_id: str
    snapshot_at: str
    verified_at: str
    tables: tuple[CertifiedTable, ...]
    exceptions: tuple[str, ...]
    code: Mapping[str, str]
    schema: Mapping[str, str]
    is_as_written: bool = field(default=True, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Returns the certificate as a JSON document, with a digest of the rest of it."""
        document: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        del document["is_as_written"]
        document = {"format": FORMAT, **document}
        return {**document, _DIGEST: _digest(document)}

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Reads a certificate.

        Raises:
            InvalidInput: The text is no certificate of a format that this code knows.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            written = fields.pop(_DIGEST, None)
            fields["is_as_written"] = written == _digest(fields)
            if fields.pop("format") != FORMAT:
                raise InvalidInput(f"the certificate is of another format than {FORMAT}")
            fields["tables"] = tuple(CertifiedTable(**table) for table in fields["tables"])
            fields["exceptions"] = tuple(fields["exceptions"])
            return cls(**fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"the file is no certificate ({error})") from error


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def digest_of_code(folders: Iterable[Path]) -> str:
    """Returns the SHA-256 of the code and the declarations in folders."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.suffix in _CODE:
                digest.update(f"{folder.name}/{file.relative_to(folder).as_posix()}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()
