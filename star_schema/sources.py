"""The source tables that the star tables read: their natural keys and rules."""

from dataclasses import dataclass

from star_schema import files
from star_schema.rules import Rules, rules_of


@dataclass(frozen=True)
class SourceDeclaration:
    """The declaration of a source table.

    Attributes:
        name: The table's name.
        natural_key: The column that identifies a row, whatever primary key the source declares.
        rules: The rules that a row must satisfy before a fact is built from it.
    """

    name: str
    natural_key: str
    rules: Rules


def source_declaration(name: str) -> SourceDeclaration | None:
    """Returns the declaration of a source table; None for a table that no star table reads.

    Raises:
        DeclarationInvalid: The table's file is malformed.
    """
    return declared_source(name) if name in files.names(files.SOURCES) else None


def declared_source(name: str) -> SourceDeclaration:
    """Returns the declaration of a source table that a star table reads.

    Raises:
        DeclarationInvalid: The table has no file, or a malformed one.
    """
    document = files.document(files.SOURCES, name)
    with files.naming_the_file(files.SOURCES, name):
        known = {"natural_key", "rules", "stopping_rules"}
        if unknown := document.keys() - known:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        if not isinstance(document["natural_key"], str):
            raise TypeError("natural_key is no name of a column")
        return SourceDeclaration(name, document["natural_key"], rules_of(document))
