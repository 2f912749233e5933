"""What AWS gives a function that works on the warehouse: a context and a secret."""

import json
import uuid

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext
from psycopg.conninfo import conninfo_to_dict


class Context(LambdaContext):
    """An invocation that has a minute."""

    _function_name = "function"
    _memory_limit_in_mb = 1024
    _invoked_function_arn = "arn:aws:lambda:eu-west-2:000000000000:function:function"
    _aws_request_id = "00000000-0000-0000-0000-000000000000"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 60_000


def put_secret(dsn: str) -> str:
    """Keeps how to reach a database in a new secret, and returns its ARN."""
    client = boto3.client("secretsmanager")
    return client.create_secret(Name=uuid.uuid4().hex, SecretString=secret_text(dsn))["ARN"]


def secret_text(dsn: str) -> str:
    """Returns how to reach a database, in the form that Amazon RDS writes."""
    parts = conninfo_to_dict(dsn)
    secret = {
        "engine": "postgres",
        "host": parts["host"],
        "port": int(str(parts["port"])),
        "username": parts["user"],
        "password": parts["password"],
        "dbname": parts["dbname"],
    }
    return json.dumps(secret)
