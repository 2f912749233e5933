"""Serves the dashboard on this machine: `make dashboard`."""

import argparse
import sys

import boto3
import psycopg
import uvicorn
from psycopg.conninfo import conninfo_to_dict

from dashboard.app import HOST, Dashboard
from dashboard.charts import warm_up
from dashboard.warehouse import Connect, connecting
from local.stack import LocalStack, NotUp
from pipeline.errors import PipelineError
from pipeline.secret import Login, read_login
from pipeline.settings import DatabaseSettings


class DsnRefused(Exception):
    """The connection string cannot be used."""


def main(arguments: list[str]) -> int:
    """Serves until it is interrupted, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dashboard")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--dsn", default="", help="a warehouse, without its password")
    where.add_argument("--secret", default="", help="the ARN of a warehouse's secret")
    parser.add_argument("--port", type=int, default=8050, help="the port, on 127.0.0.1")
    options = parser.parse_args(arguments)
    try:
        login = _login(options.dsn, options.secret)
    except (DsnRefused, NotUp, PipelineError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"The dashboard is at http://{HOST}:{options.port}. Ctrl-C ends it.\n")
    sys.stdout.flush()
    serve(connecting(login), _name(login), options.port)
    return 0


def serve(connect: Connect, name: str, port: int) -> None:
    """Serves the dashboard on this machine's own address."""
    warm_up()
    application = Dashboard(connect, name).application()
    uvicorn.run(application, host=HOST, port=port, log_level="warning")


def _login(dsn: str, secret: str) -> Login:
    """Returns how to connect: the local warehouse unless another one is named.

    Raises:
        DsnRefused: The connection string is malformed, or has a password.
        NotUp: The local warehouse is not running.
        PipelineError: The secret cannot be read.
    """
    if secret:
        return read_login("warehouse", DatabaseSettings(secret), boto3.client("secretsmanager"))
    try:
        keywords = conninfo_to_dict(dsn or LocalStack().current().warehouse_dsn)
    except psycopg.ProgrammingError:
        raise DsnRefused("DSN is no connection string of PostgreSQL") from None
    password = keywords.pop("password", None)
    if dsn and password:
        raise DsnRefused(
            "DSN has a password, which other users of this machine can see: write it to ~/.pgpass "
            "(https://www.postgresql.org/docs/current/libpq-pgpass.html), or pass the ARN of a "
            "secret as SECRET"
        )
    named = {key: str(value) for key, value in keywords.items()}
    return Login(named, str(password) if password else None)


def _name(login: Login) -> str:
    parts = (login.keywords.get(name, "") for name in ("dbname", "host", "service"))
    return " on ".join(part for part in parts if part)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
