"""The files that declare the tables: star_schema/definitions holds one TOML file a table.

`tables/` has the star tables, each with its SELECT beside the TOML file, and `sources/` the source
tables that they read.
"""

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Final

from pipeline.errors import DeclarationInvalid

TABLES: Final = "tables"
SOURCES: Final = "sources"


def root() -> Traversable:
    """Returns the folder that holds the definitions."""
    return resources.files("star_schema") / "definitions"


def names(folder: str) -> tuple[str, ...]:
    """Returns the names of the tables that a folder declares, in alphabetical order."""
    files = [file.name for file in (root() / folder).iterdir()]
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


def document(folder: str, name: str) -> Mapping[str, Any]:
    """Returns the content of a table's TOML file."""
    with naming_the_file(folder, name):
        return _parsed((root() / folder / f"{name}.toml").read_text("utf-8"))


@cache
def _parsed(toml: str) -> Mapping[str, Any]:
    """Parses a file once: a run asks for the declarations of its tables again and again."""
    return tomllib.loads(toml)


def select(name: str) -> str:
    """Returns the SELECT of a star table."""
    with naming_the_file(TABLES, name):
        return (root() / TABLES / f"{name}.sql").read_text("utf-8")


@contextmanager
def naming_the_file(folder: str, name: str) -> Iterator[None]:
    """Names the declaration in the errors that its content causes.

    Raises:
        DeclarationInvalid: The declaration is missing, malformed or incomplete.
    """
    try:
        yield
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DeclarationInvalid(
            f"star_schema/definitions/{folder}/{name} is invalid "
            f"({type(error).__name__}: {error}): correct the file and deploy again"
        ) from error
