"""A Glue table has an owner only if the request named one, as on AWS.

AWS Glue Web API Reference, "Table": Owner has at least one character. MiniStack returns an empty
Owner, and a client that sends the table back in an update is refused.
"""

from typing import Any

from ministack.services import glue


def patch() -> None:
    """Replaces MiniStack's CreateTable by one that omits an empty Owner."""
    create = glue._create_table

    def create_table(data: dict[str, Any]) -> Any:
        answer = create(data)
        table = glue._tables.get(f"{data.get('DatabaseName')}/{data['TableInput'].get('Name')}")
        if table and not table["Owner"]:
            del table["Owner"]
        return answer

    glue._create_table = create_table
