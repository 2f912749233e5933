"""A stack for the doctor to look at, and faults of it."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from doctor.finding import Check, Finding
from doctor.place import Place
from doctor.registry import CHECKS
from doctor.running import run_all
from local.deployment import ROOT, put_secret
from local.stack import LocalStack, Stack

SOURCE, WAREHOUSE = "doctor_source", "doctor_warehouse"
READER, LOADER = "pipeline_reader", "pipeline_loader"
_PASSWORD = "kept secret"
_RIGHTS = re.compile(r"```sql\n-- at the source: (.*?)```", re.DOTALL)


@dataclass(frozen=True)
class World:
    """What faults are injected into.

    Attributes:
        stack: The tests' stack.
        state: The folder of its state.
        source: A copy of the source, for its administrator.
        warehouse: A copy of the warehouse, for its administrator.
        reader: The source's copy, for the role with the rights that docs/operations.md lists.
        loader: The warehouse's copy, likewise.
        clients: What a place keeps of AWS: its session and its clients.
    """

    stack: Stack
    state: Path
    source: str
    warehouse: str
    reader: str
    loader: str
    clients: dict[str, Any]

    def place(self) -> Place:
        """Returns the stack as the doctor sees it for the first time, by the same clients."""
        made = Place("local", "totesys", LocalStack(self.state))
        vars(made).update(self.clients)
        return made

    def look(self, name: str) -> Finding:
        """Makes one check."""
        (check,) = (one for one in CHECKS if one.name == name)
        ((_, finding),) = run_all([check], self.place())
        return finding

    def look_at_all(self) -> list[tuple[Check, Finding]]:
        """Makes all checks."""
        return list(run_all(CHECKS, self.place()))

    def execute(self, dsn: str, *statements: str) -> None:
        """Executes statements as the administrator."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    @contextmanager
    def secret(self, name: str, dsn: str) -> Iterator[None]:
        """Points the pipeline to another database."""
        put_secret(name, dsn)
        try:
            yield
        finally:
            put_secret(name, self.reader if name == "source" else self.loader)


@contextmanager
def doctor_world(stack: Stack, state: Path) -> Iterator[World]:
    """Makes the copies and the roles, and points the secrets to them."""
    source, warehouse = _copy(stack.source_dsn, SOURCE), _copy(stack.warehouse_dsn, WAREHOUSE)
    reader, loader = _as(source, READER), _as(warehouse, LOADER)
    first = Place("local", "totesys", LocalStack(state))
    clients = {"session": first.session, "_clients": {}}
    world = World(stack, state, source, warehouse, reader, loader, clients)
    at_source, in_warehouse = _rights()
    world.execute(source, *at_source)
    world.execute(warehouse, *in_warehouse, *_ownership(warehouse))
    put_secret("source", reader)
    put_secret("warehouse", loader)
    yield world
    put_secret("source", stack.source_dsn)
    put_secret("warehouse", stack.warehouse_dsn)
    for dsn, copy, role in (
        (stack.source_dsn, SOURCE, READER),
        (stack.warehouse_dsn, WAREHOUSE, LOADER),
    ):
        world.execute(
            dsn, f"drop database {copy} with (force)", f"drop owned by {role}", f"drop role {role}"
        )


def _rights() -> tuple[list[str], list[str]]:
    """Returns the statements of docs/operations.md that give the roles their rights."""
    text = (ROOT / "docs" / "operations.md").read_text()
    (block,) = _RIGHTS.findall(text)
    given = re.sub(r"password '…'", f"password '{_PASSWORD}'", block)
    given = given.replace("database totesys", f"database {SOURCE}")
    given = given.replace("database warehouse", f"database {WAREHOUSE}")
    return tuple(  # type: ignore[return-value]
        [line for line in part.splitlines()[1:] if line and not line.startswith("--")]
        for part in given.split("-- in the warehouse:")
    )


def _ownership(warehouse: str) -> Iterator[str]:
    with psycopg.connect(warehouse) as connection:
        for name, kind in connection.execute(
            "select relname::text, relkind::text from pg_class "
            "where relnamespace = 'public'::regnamespace and relkind in ('r', 'v')"
        ):
            yield f"alter {'view' if kind == 'v' else 'table'} {name} owner to {LOADER}"


def _copy(dsn: str, name: str) -> str:
    origin = str(conninfo_to_dict(dsn)["dbname"])
    with psycopg.connect(make_conninfo(dsn, dbname="postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(
                sql.Identifier(name), sql.Identifier(origin)
            )
        )
    return make_conninfo(dsn, dbname=name)


def _as(dsn: str, role: str) -> str:
    return make_conninfo(dsn, user=role, password=_PASSWORD)


# ---------- What happens to the stack


@dataclass(frozen=True)
class Fault:
    """A fault, and what the doctor has to say.

    Attributes:
        name: What is wrong.
        check: The check that finds it.
        fix: What its first statement or command begins with; `{…}` is a field of the world.
        inject: Injects it while its context is open.
        is_applied: Whether the statements are executed, after which the check finds no fault.
    """

    name: str
    check: str
    fix: str
    inject: "Callable[[World], Any]"
    is_applied: bool = False


def at(database: str, do: str, undo: str = "") -> Callable[[World], Any]:
    """Returns a fault that statements make in a database: `source` or `warehouse`."""

    @contextmanager
    def inject(world: World) -> Iterator[None]:
        dsn = getattr(world, database)
        world.execute(dsn, *do.split("; "))
        try:
            yield
        finally:
            world.execute(dsn, *filter(None, undo.split("; ")))

    return inject


def held(database: str, *statements: str) -> Callable[[World], Any]:
    """Returns a fault that a session makes which leaves its transaction open, beside others'."""

    @contextmanager
    def inject(world: World) -> Iterator[None]:
        connection = psycopg.connect(getattr(world, database), application_name="somebody")
        for statement in statements:
            connection.execute(statement.encode())
        world.execute(getattr(world, database), "select pg_current_xact_id()")
        try:
            yield
        finally:
            connection.close()

    return inject


def called(
    service: Any, do: str, undo: str, arguments: Callable[[World], tuple[dict[str, Any], ...]]
) -> Callable[[World], Any]:
    """Returns a fault that one call of AWS makes and another one takes back."""

    @contextmanager
    def inject(world: World) -> Iterator[None]:
        client = boto3.client(service)
        first, second = arguments(world)
        getattr(client, do)(**first)
        try:
            yield
        finally:
            getattr(client, undo)(**second)

    return inject


def deleted(bucket: str, prefix: str, suffix: str = "") -> Callable[[World], Any]:
    """Returns a fault that deletes the newest object of a prefix and a suffix."""

    @contextmanager
    def inject(world: World) -> Iterator[None]:
        client, name = boto3.client("s3"), getattr(world.stack, bucket)
        objects = client.list_objects_v2(Bucket=name, Prefix=prefix)["Contents"]
        key = max(one["Key"] for one in objects if one["Key"].endswith(suffix))
        marker = client.delete_object(Bucket=name, Key=key)
        try:
            yield
        finally:
            client.delete_object(Bucket=name, Key=key, VersionId=marker["VersionId"])

    return inject


def rewritten(
    key: str, change: Callable[[dict[str, Any]], object] | None
) -> Callable[[World], Any]:
    """Returns a fault that overwrites a JSON object of the raw bucket, or damages it."""

    @contextmanager
    def inject(world: World) -> Iterator[None]:
        client, bucket = boto3.client("s3"), world.stack.raw_bucket
        newest = max(
            one["Key"] for one in client.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]
        )
        document = json.loads(client.get_object(Bucket=bucket, Key=newest)["Body"].read())
        if change:
            change(document)
        body = json.dumps(document) if change else "{damaged"
        version = client.put_object(Bucket=bucket, Key=newest, Body=body.encode())["VersionId"]
        try:
            yield
        finally:
            client.delete_object(Bucket=bucket, Key=newest, VersionId=version)

    return inject


def resource(world: World, logical: str) -> str:
    """Returns the physical id of one of the stack's resources."""
    found = boto3.client("cloudformation").describe_stack_resource(
        StackName="totesys", LogicalResourceId=logical
    )
    return str(found["StackResourceDetail"]["PhysicalResourceId"])
