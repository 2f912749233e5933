"""What AWS Glue's catalogue does and MiniStack's does not.

A table has an owner only if the request named one. AWS Glue Web API Reference, "Table": Owner has
at least one character. MiniStack returns an empty Owner, and a client that sends the table back in
an update is refused. MiniStack does not know BatchDeletePartition, and does not import a database
into a stack, though the type has the handlers that an import needs (its schema in AWS
CloudFormation's registry).
"""

import json
from typing import Any

from ministack.services import glue
from ministack.services.cloudformation import provisioners


def patch() -> None:
    """Replaces MiniStack's CreateTable, and adds BatchDeletePartition and a database's import."""
    create, handle = glue._create_table, glue._handle_request_sync

    def create_table(data: dict[str, Any]) -> Any:
        answer = create(data)
        table = glue._tables.get(f"{data.get('DatabaseName')}/{data['TableInput'].get('Name')}")
        if table and not table["Owner"]:
            del table["Owner"]
        return answer

    def handle_request(
        method: str, path: str, headers: dict[str, str], body: bytes, parameters: Any
    ) -> Any:
        if not headers.get("x-amz-target", "").endswith(".BatchDeletePartition"):
            return handle(method, path, headers, body, parameters)
        data = json.loads(body)
        for one in data["PartitionsToDelete"]:
            glue._delete_partition(data | {"PartitionValues": one["Values"]})
        return glue.json_response({"Errors": []})

    def import_database(identifier: dict[str, str]) -> tuple[str, dict[str, str]]:
        return identifier["DatabaseName"], {}

    provisioners._RESOURCE_HANDLERS["AWS::Glue::Database"]["import"] = import_database
    glue._create_table = create_table
    glue._handle_request_sync = handle_request
