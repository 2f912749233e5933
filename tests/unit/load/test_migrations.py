"""The migrations that the Load function carries."""

import hashlib
import re
from pathlib import Path

from lambdas.load.migrations import migrations

FOLDER = Path(__file__).parents[3] / "lambdas/load/migrations"


def test_every_file_is_a_migration_in_the_order_of_its_number() -> None:
    names = [step.name for step in migrations()]

    assert names == sorted(file.name for file in FOLDER.iterdir())
    numbers = [re.fullmatch(r"(\d{4})_[a-z_]+\.sql", name) for name in names]
    assert [int(match[1]) for match in numbers if match] == list(range(1, len(names) + 1))


def test_a_migration_is_known_by_the_hash_of_its_text() -> None:
    for step in migrations():
        content = (FOLDER / step.name).read_bytes()
        assert step.statements.encode() == content
        assert step.checksum == hashlib.sha256(content).hexdigest()
