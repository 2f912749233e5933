"""Names and texts as Spark SQL reads them, for the statements that take no parameters."""


def quoted(name: str) -> str:
    """Returns a column's name, whatever characters it has."""
    return f"`{name.replace('`', '``')}`"


def literal(text: str) -> str:
    """Returns a text, whatever characters it has."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
