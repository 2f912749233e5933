"""A Glue table has no owner unless it was given one, as on AWS.

AWS Glue Web API Reference, "Table": Owner has at least one character. MiniStack answers with an
empty one, which a client that sends the table back for an update may not hand on.
"""

from typing import Any

from ministack.services import glue


def mend() -> None:
    """Replaces the making of a table by one that leaves out what was not given."""
    create = glue._create_table

    def create_table(data: dict[str, Any]) -> Any:
        answer = create(data)
        table = glue._tables.get(f"{data.get('DatabaseName')}/{data['TableInput'].get('Name')}")
        if table and not table["Owner"]:
            del table["Owner"]
        return answer

    glue._create_table = create_table
