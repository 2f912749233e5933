"""Serves the dashboard on this machine: `make dashboard`."""

import argparse
import sys
from functools import partial

import boto3
import psycopg
import uvicorn
from botocore.exceptions import BotoCoreError
from psycopg.conninfo import conninfo_to_dict

from dashboard.app import HOST, Dashboard
from dashboard.charts import warm_up
from dashboard.life import Stack
from dashboard.warehouse import connecting
from lineage.places import places
from lineage.trace import Trace, trace
from local.arguments import whole_number
from local.stack import NotUp
from pipeline.database import Role
from pipeline.errors import PipelineError
from pipeline.secret import Login, read_login
from pipeline.settings import DatabaseSettings


class DsnRefused(Exception):
    """The connection string cannot be used."""


def main(arguments: list[str]) -> int:
    """Serves until it is interrupted, and returns the exit code."""
    options = _parser().parse_args(arguments)
    is_stack_known = options.env or not (options.dsn or options.secret)
    try:
        login = _login(options.dsn, options.secret, options.env)
    except (DsnRefused, NotUp, PipelineError, BotoCoreError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"The dashboard is at http://{HOST}:{options.port}. Ctrl-C ends it.\n")
    sys.stdout.flush()
    stack = Stack(partial(_follow, options.env), options.env) if is_stack_known else None
    serve(Dashboard(connecting(login), _name(login), stack), options.port)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dashboard")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--dsn", default="", help="a warehouse, without its password")
    where.add_argument("--secret", default="", help="the ARN of a warehouse's secret")
    parser.add_argument("--env", default="", help="an environment of samconfig.toml")
    parser.add_argument("--port", type=whole_number(1, 65535), default=8050, help="on 127.0.0.1")
    return parser


def serve(dashboard: Dashboard, port: int) -> None:
    """Serves the dashboard on this machine's own address."""
    warm_up()
    application = dashboard.application()
    uvicorn.run(application, host=HOST, port=port, log_level="warning")


def _follow(environment: str, table: str, key: str) -> Trace:
    return trace(table, key, places(environment))


def _login(dsn: str, secret: str, environment: str) -> Login:
    """Returns how to connect: to the local warehouse unless another one is named.

    Raises:
        DsnRefused: The connection string is malformed, or has a password.
        NotUp: The local warehouse is not running.
        PipelineError: The stack or the secret cannot be read.
    """
    if dsn:
        return _without_password(dsn)
    if secret:
        return read_login("warehouse", DatabaseSettings(secret), boto3.client("secretsmanager"))
    stack = places(environment)
    secrets = stack.session.client("secretsmanager")
    return read_login("warehouse", stack.settings(Role.WAREHOUSE), secrets)


def _without_password(dsn: str) -> Login:
    try:
        keywords = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise DsnRefused("DSN is no connection string of PostgreSQL") from None
    if keywords.pop("password", None):
        raise DsnRefused(
            "DSN has a password, which other users of this machine can see: write it to ~/.pgpass "
            "(https://www.postgresql.org/docs/current/libpq-pgpass.html), or pass the ARN of a "
            "secret as SECRET"
        )
    return Login({key: str(value) for key, value in keywords.items()}, None)


def _name(login: Login) -> str:
    parts = (login.keywords.get(name, "") for name in ("dbname", "host", "service"))
    return " on ".join(part for part in parts if part)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
