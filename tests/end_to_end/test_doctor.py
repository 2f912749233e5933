"""The doctor finds no fault in a stack that runs, and names what mends each injected fault."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
import pyarrow as pa
import pytest
from psycopg.conninfo import make_conninfo
from pyiceberg.catalog import Catalog

from doctor.checks import deployment, lake, warehouse
from doctor.finding import Status
from doctor.place import WriteRefused
from lambdas.ingest import open_transactions
from lambdas.load.lake import glue_catalog
from local.deployment import ROOT
from local.stack import Stack
from pipeline.database import Role
from pipeline.errors import DatabaseRefused
from tests.end_to_end.doctor_world import (
    LOADER,
    READER,
    SOURCE,
    WAREHOUSE,
    Fault,
    World,
    at,
    called,
    deleted,
    doctor_world,
    held,
    resource,
    rewritten,
)


@pytest.fixture(scope="module")
def world(stack: Stack, state_folder: Path, history: object) -> Iterator[World]:
    with doctor_world(stack, state_folder) as made:
        yield made


@contextmanager
def password(world: World) -> Iterator[None]:
    with world.secret("source", make_conninfo(world.reader, password="guessed")):
        yield


@contextmanager
def other_database(world: World) -> Iterator[None]:
    with world.secret("warehouse", make_conninfo(world.loader, dbname="nowhere")):
        yield


@contextmanager
def server_down(world: World) -> Iterator[None]:
    with world.secret("source", make_conninfo(world.reader, port="1")):
        yield


@contextmanager
def ascii_database(world: World) -> Iterator[None]:
    world.execute(
        world.stack.warehouse_dsn,
        "create database doctor_ascii encoding 'SQL_ASCII' locale 'C' template template0",
    )
    with world.secret("warehouse", make_conninfo(world.loader, dbname="doctor_ascii")):
        yield
    world.execute(world.stack.warehouse_dsn, "drop database doctor_ascii with (force)")


@contextmanager
def secret_without_json(world: World) -> Iterator[None]:
    with world.secret("source", world.reader):
        boto3.client("secretsmanager").put_secret_value(SecretId="totesys-source", SecretString="?")
        yield


@contextmanager
def secret_deleted(world: World) -> Iterator[None]:
    client = boto3.client("secretsmanager")
    client.delete_secret(SecretId="totesys-source", RecoveryWindowInDays=7)
    try:
        yield
    finally:
        client.restore_secret(SecretId="totesys-source")


@contextmanager
def table_forgotten(world: World, database: str, name: str) -> Iterator[None]:
    client: Any = boto3.client("glue")
    entry = client.get_table(DatabaseName=database, Name=name)["Table"]
    client.delete_table(DatabaseName=database, Name=name)
    try:
        yield
    finally:
        kept = (
            "Name",
            "Description",
            "StorageDescriptor",
            "PartitionKeys",
            "TableType",
            "Parameters",
        )
        client.create_table(
            DatabaseName=database, TableInput={key: entry[key] for key in kept if key in entry}
        )


def another_clone(file: str, old: str, new: str) -> Callable[[World], Any]:
    """Returns a fault that is a file of this clone that differs from what was deployed."""

    @contextmanager
    def inject(_world: World) -> Iterator[None]:
        with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            for name in ("template.yaml", "state_machine", "glue_jobs", "pipeline", "star_schema"):
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, Path(folder) / name)
            changed = Path(folder) / file
            assert old in changed.read_text()
            changed.write_text(changed.read_text().replace(old, new))
            patch.setattr(deployment, "ROOT", Path(folder))
            yield

    return inject


@contextmanager
def edited_since(_world: World) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deployment, "code_digest", lambda _parameters: "another")
        yield


class Quarantined:
    """The lake with two rows in the quarantine, of which one was corrected since."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def load_table(self, identifier: tuple[str, str]) -> Any:
        return self if identifier[1] == "quarantine" else self._catalog.load_table(identifier)

    def scan(self, **_: object) -> Any:
        return self

    def to_arrow(self) -> pa.Table:
        row = {"star_table": "fact_payment", "natural_key": "1", "_sequence": 0}
        return pa.Table.from_pylist([row, {**row, "natural_key": "2", "_sequence": 1_000_000}])


@contextmanager
def quarantined(_world: World) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lake, "glue_catalog", lambda *given: Quarantined(glue_catalog(*given)))
        yield


@contextmanager
def lock_left(world: World) -> Iterator[None]:
    table, key = boto3.client("dynamodb"), {"pipeline": {"S": "totesys"}}
    table.update_item(
        TableName=world.stack.pipeline_table,
        Key=key,
        UpdateExpression="set lock_owner = :owner, lease_ends = :ends",
        ExpressionAttributeValues={
            ":owner": {"S": "killed"},
            ":ends": {"N": str(int(time.time()) + 3600)},
        },
    )
    try:
        yield
    finally:
        table.update_item(
            TableName=world.stack.pipeline_table,
            Key=key,
            UpdateExpression="remove lock_owner, lease_ends",
        )


@contextmanager
def not_loaded(world: World) -> Iterator[None]:
    table, key = boto3.client("dynamodb"), {"pipeline": {"S": "totesys"}}
    name = world.stack.pipeline_table
    item = table.get_item(TableName=name, Key=key)["Item"]
    table.put_item(TableName=name, Item={**item, "loaded_through": {"N": "0"}})
    try:
        yield
    finally:
        table.put_item(TableName=name, Item=item)


@contextmanager
def another_event(world: World) -> Iterator[None]:
    client, queue = boto3.client("sqs"), resource(world, "UndeliveredEvents")
    client.send_message(QueueUrl=queue, MessageBody="{}")
    try:
        yield
    finally:
        client.purge_queue(QueueUrl=queue)


@contextmanager
def function_changed(world: World) -> Iterator[None]:
    client: Any = boto3.client("lambda")
    before = client.get_function_configuration(FunctionName="totesys-load")["Environment"]
    changed = {**before["Variables"], "DATABASE_SSL_MODE": "require"}
    client.update_function_configuration(
        FunctionName="totesys-load", Environment={"Variables": changed}
    )
    try:
        yield
    finally:
        client.update_function_configuration(FunctionName="totesys-load", Environment=before)


@contextmanager
def log_group_gone(world: World) -> Iterator[None]:
    client, name = boto3.client("logs"), "/aws/lambda/totesys-publish-previews"
    client.delete_log_group(logGroupName=name)
    try:
        yield
    finally:
        client.create_log_group(logGroupName=name)


def not_taken(document: dict[str, Any]) -> None:
    document["tables"]["design"]["not_taken"] = "42501: permission denied"
    # As a manifest of an earlier version: no digest says that this one was edited.
    del document["sha256"]


def schedule(world: World) -> tuple[dict[str, Any], dict[str, Any]]:
    name = {"Name": resource(world, "PipelineStateMachineSchedule")}
    return name, name


def alarm(world: World) -> tuple[dict[str, Any], dict[str, Any]]:
    name = resource(world, "HeldLockAlarm")
    state = {"AlarmName": name, "StateReason": "a test"}
    return {**state, "StateValue": "ALARM"}, {**state, "StateValue": "INSUFFICIENT_DATA"}


def silenced(world: World) -> tuple[dict[str, Any], dict[str, Any]]:
    names = {"AlarmNames": [resource(world, "QuarantineAlarm")]}
    return names, names


def unversioned(world: World) -> tuple[dict[str, Any], dict[str, Any]]:
    bucket = {"Bucket": world.stack.lake_bucket}
    return (
        {**bucket, "VersioningConfiguration": {"Status": "Suspended"}},
        {**bucket, "VersioningConfiguration": {"Status": "Enabled"}},
    )


def opened(world: World) -> tuple[dict[str, Any], dict[str, Any]]:
    bucket = {"Bucket": world.stack.raw_bucket}
    names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    closed = dict.fromkeys(names, True)
    return bucket, {**bucket, "PublicAccessBlockConfiguration": closed}


def without_policy(world: World) -> tuple[dict[str, Any], dict[str, Any]]:
    bucket = {"Bucket": world.stack.raw_bucket}
    policy = boto3.client("s3").get_bucket_policy(**bucket)["Policy"]
    return bucket, {**bucket, "Policy": policy}


FAULTS = (
    # ---------- The source
    Fault(
        "a table may not be read",
        "source.select",
        f'grant select on "public"."payment" to "{READER}";',
        at("source", f"revoke select on payment from {READER}"),
        is_applied=True,
    ),
    Fault(
        "the schema may not be used",
        "source.usage",
        f'grant usage on schema "public" to "{READER}";',
        at(
            "source",
            f"revoke usage on schema public from public, {READER}",
            "grant usage on schema public to public",
        ),
        is_applied=True,
    ),
    Fault(
        "the server's identity may not be read",
        "source.functions",
        f'grant execute on function pg_control_system() to "{READER}";',
        at(
            "source",
            "revoke execute on function pg_control_system() from public",
            "grant execute on function pg_control_system() to public; "
            f"revoke execute on function pg_control_system() from {READER}",
        ),
        is_applied=True,
    ),
    Fault(
        "a table was renamed",
        "source.tables",
        "alter table … rename to design;",
        at("source", "alter table design rename to plan", "alter table plan rename to design"),
    ),
    Fault(
        "a column was renamed",
        "source.columns",
        'alter table "public"."currency" rename column … to currency_code;',
        at(
            "source",
            "alter table currency rename column currency_code to code",
            "alter table currency rename column code to currency_code",
        ),
    ),
    Fault(
        "a policy hides rows",
        "source.row_security",
        f'alter role "{READER}" bypassrls;',
        at(
            "source",
            "alter table staff enable row level security",
            f"alter table staff disable row level security; alter role {READER} nobypassrls",
        ),
        is_applied=True,
    ),
    Fault(
        "no constraint guarantees the natural key",
        "source.natural_keys",
        'alter table "public"."payment" add primary key ("payment_id");',
        at("source", "alter table payment drop constraint payment_pkey"),
        is_applied=True,
    ),
    Fault(
        "the primary key is another one than the declared key",
        "source.natural_keys",
        'alter table "public"."payment" add unique ("payment_id");',
        at(
            "source",
            "alter table payment drop constraint payment_pkey; "
            "alter table payment add primary key (payment_id, transaction_id)",
            "alter table payment drop constraint payment_payment_id_key; "
            "alter table payment drop constraint payment_pkey; "
            "alter table payment add primary key (payment_id)",
        ),
        is_applied=True,
    ),
    Fault(
        "two rows have the same natural key",
        "source.natural_keys",
        'select "payment_id", count(*) from "public"."payment"',
        at(
            "source",
            "alter table payment drop constraint payment_pkey; "
            "create table doubled as select * from payment limit 1; "
            "insert into payment overriding system value select * from doubled",
            "delete from payment where ctid = (select max(ctid) from payment); "
            "drop table doubled; "
            "alter table payment add primary key (payment_id)",
        ),
    ),
    Fault(
        "a role's changes are not counted",
        "source.counters",
        f"alter role {READER} reset track_counts;",
        at("source", f"alter role {READER} set track_counts = off"),
        is_applied=True,
    ),
    Fault(
        "a database's changes are not counted",
        "source.counters",
        f"alter database {SOURCE} reset track_counts;",
        at("source", f"alter database {SOURCE} set track_counts = off"),
        is_applied=True,
    ),
    Fault(
        "others' transactions are not visible",
        "source.statistics",
        f'grant pg_read_all_stats to "{READER}";',
        at("source", f"revoke pg_read_all_stats from {READER}"),
        is_applied=True,
    ),
    Fault(
        "damaged rows are skipped",
        "source.hidden_rows",
        f'alter database "{SOURCE}" reset zero_damaged_pages;',
        at("source", f"alter database {SOURCE} set zero_damaged_pages = on"),
        is_applied=True,
    ),
    Fault(
        "the role may have one connection",
        "source.room",
        f'alter role "{READER}" connection limit -1;',
        at("source", f"alter role {READER} connection limit 1"),
        is_applied=True,
    ),
    Fault(
        "the database takes few connections",
        "source.room",
        f'alter database "{SOURCE}" connection limit -1;',
        at("source", f"alter database {SOURCE} connection limit 2"),
        is_applied=True,
    ),
    Fault(
        "the password is about to end",
        "source.room",
        f"alter role \"{READER}\" valid until 'infinity';",
        at("source", f"alter role {READER} valid until 'tomorrow'"),
        is_applied=True,
    ),
    Fault(
        "a transaction stays open",
        "source.open_transaction",
        "select pg_terminate_backend(",
        held("source", "select pg_current_xact_id()"),
        is_applied=True,
    ),
    Fault(
        "a replication slot is abandoned",
        "source.slots",
        "select pg_drop_replication_slot('left');",
        at("source", "select pg_create_physical_replication_slot('left', true)"),
        is_applied=True,
    ),
    Fault(
        "the secret has another password",
        "source.reachable",
        f"alter role \"{READER}\" password '…';",
        password,
    ),
    Fault(
        "the role may not log in",
        "source.reachable",
        f'alter role "{READER}" login;',
        at("source", f"alter role {READER} nologin"),
        is_applied=True,
    ),
    Fault(
        "the role may not connect",
        "source.reachable",
        f'grant connect on database "{SOURCE}" to "{READER}";',
        at("source", f"revoke connect on database {SOURCE} from public, {READER}"),
        is_applied=True,
    ),
    Fault("the server is down", "source.reachable", "make run", server_down),
    Fault("the secret is not JSON", "source.secret", "make run", secret_without_json),
    Fault(
        "the secret is being deleted",
        "source.secret",
        "aws --endpoint-url {endpoint_url} secretsmanager restore-secret --secret-id arn:",
        secret_deleted,
    ),
    # ---------- The warehouse
    Fault(
        "there is no such database",
        "warehouse.reachable",
        "create database \"nowhere\" encoding 'UTF8';",
        other_database,
    ),
    Fault(
        "the database has another encoding",
        "warehouse.encoding",
        "create database \"doctor_ascii\" encoding 'UTF8'",
        ascii_database,
    ),
    Fault(
        "no temporary tables",
        "warehouse.database_rights",
        f'grant temporary on database "{WAREHOUSE}" to "{LOADER}";',
        at("warehouse", f"revoke temporary on database {WAREHOUSE} from public, {LOADER}"),
        is_applied=True,
    ),
    Fault(
        "no schemas",
        "warehouse.database_rights",
        f'grant create on database "{WAREHOUSE}" to "{LOADER}";',
        at("warehouse", f"revoke create on database {WAREHOUSE} from {LOADER}"),
        is_applied=True,
    ),
    Fault(
        "no tables in the schema",
        "warehouse.schema_rights",
        f'grant create on schema "public" to "{LOADER}";',
        at("warehouse", f"revoke create on schema public from {LOADER}"),
        is_applied=True,
    ),
    Fault(
        "a table belongs to somebody else",
        "warehouse.ownership",
        f'alter table "public"."dim_design" owner to "{LOADER}";',
        at("warehouse", "alter table dim_design owner to postgres"),
        is_applied=True,
    ),
    Fault(
        "a migration is not applied",
        "warehouse.migrations",
        "make execute",
        at(
            "warehouse",
            "create table kept as select * from schema_migration; "
            "delete from schema_migration where name like '0005%'",
            "insert into schema_migration select * from kept where name like '0005%'; "
            "drop table kept",
        ),
    ),
    Fault(
        "a migration was changed",
        "warehouse.migrations",
        "git checkout -- lambdas/load/migrations/0004_waiting_rows.sql",
        at(
            "warehouse",
            "update schema_migration set checksum = '-' || checksum where name like '0004%'",
            "update schema_migration set checksum = substr(checksum, 2) where name like '0004%'",
        ),
    ),
    Fault(
        "newer code has loaded",
        "warehouse.migrations",
        "git pull && make run",
        at(
            "warehouse",
            "insert into schema_migration values ('9999_later.sql', '')",
            "delete from schema_migration where name like '9999%'",
        ),
    ),
    Fault(
        "a star table has lost a column",
        "warehouse.tables",
        "alter table dim_staff add column location …",
        at(
            "warehouse",
            "alter table dim_staff rename column location to place",
            "alter table dim_staff rename column place to location",
        ),
    ),
    Fault(
        "a star table has lost a foreign key",
        "warehouse.tables",
        "alter table fact_payment add foreign key (currency_id) references dim_currency;",
        at("warehouse", "alter table fact_payment drop constraint fact_payment_currency_id_fkey"),
        is_applied=True,
    ),
    Fault(
        "a column of somebody else demands a value",
        "warehouse.own_columns",
        'alter table dim_design alter column "note" drop not null;',
        at(
            "warehouse",
            "alter table dim_design add column note text not null default ''; "
            "alter table dim_design alter column note drop default",
            "alter table dim_design drop column note",
        ),
        is_applied=True,
    ),
    Fault(
        "a column of somebody else demands a value in a schema of any name",
        "warehouse.own_columns",
        'alter table dim_design alter column "note" drop not null;',
        at(
            "warehouse",
            "alter table dim_design add column note text not null default ''; "
            "alter table dim_design alter column note drop default; "
            'alter schema public rename to "The Star"',
            'alter schema "The Star" rename to public; alter table dim_design drop column note',
        ),
    ),
    Fault(
        "a table of somebody else adds rows to a star table",
        "warehouse.inheriting",
        'alter table "public"."designs of old" no inherit "dim_design";',
        at(
            "warehouse",
            'create table "designs of old" () inherits (dim_design); '
            "insert into \"designs of old\" values (0, '', '', '', false, '')",
            'drop table "designs of old"',
        ),
        is_applied=True,
    ),
    Fault(
        "somebody locks a star table",
        "warehouse.locks",
        "select pg_terminate_backend(",
        held("warehouse", "lock table fact_payment in access exclusive mode"),
        is_applied=True,
    ),
    Fault(
        "who reports may not read a table",
        "warehouse.reporting",
        'grant select on "public"."dim_date" to totesys_reporting;',
        at("warehouse", "revoke select on dim_date from totesys_reporting"),
        is_applied=True,
    ),
    Fault(
        "who reports may not use the schema",
        "warehouse.reporting",
        'grant usage on schema "public" to totesys_reporting;',
        at(
            "warehouse",
            "revoke usage on schema public from public, totesys_reporting",
            "grant usage on schema public to public",
        ),
        is_applied=True,
    ),
    Fault(
        "rows wait",
        "warehouse.waiting",
        "select table_name, key, reasons from waiting_row;",
        at(
            "warehouse",
            "insert into waiting_row (table_name, key, content, reasons) values "
            "('fact_payment', '0', '{}', '[{\"rule\": \"dim_date has no payment_date\"}]')",
            "delete from waiting_row where key = '0'",
        ),
    ),
    Fault(
        "two schemas have a warehouse",
        "warehouse.schema",
        f'alter role "{LOADER}" set search_path = public;',
        at(
            "warehouse",
            "create schema other; create table other.schema_migration (); "
            f"create table other.pipeline_run (); alter role {LOADER} set search_path = nowhere",
            f"drop schema other cascade; alter role {LOADER} reset search_path",
        ),
        is_applied=True,
    ),
    Fault(
        "a star table is behind",
        "runs.loaded",
        "make execute INPUT='{\"rebuild\": true}'",
        at(
            "warehouse",
            "update load_position set sequence = -sequence where table_name = 'dim_design'",
            "update load_position set sequence = -sequence where table_name = 'dim_design'",
        ),
    ),
    # ---------- AWS
    Fault(
        "old versions are not kept",
        "storage.versioning",
        "aws --endpoint-url {endpoint_url} s3api put-bucket-versioning --bucket {lake_bucket} "
        "--versioning-configuration Status=Enabled",
        called("s3", "put_bucket_versioning", "put_bucket_versioning", unversioned),
    ),
    Fault(
        "a bucket is open",
        "storage.public_access",
        "aws --endpoint-url {endpoint_url} s3api put-public-access-block --bucket {raw_bucket} ",
        called("s3", "delete_public_access_block", "put_public_access_block", opened),
    ),
    Fault(
        "a bucket has no policy",
        "storage.policy",
        "aws --endpoint-url {endpoint_url} s3api put-bucket-policy --bucket {raw_bucket} ",
        called("s3", "delete_bucket_policy", "put_bucket_policy", without_policy),
    ),
    Fault(
        "a manifest is gone",
        "storage.runs",
        "aws --endpoint-url {endpoint_url} s3api delete-object --bucket {raw_bucket} --key 'runs/",
        deleted("raw_bucket", "runs/"),
    ),
    Fault(
        "a manifest is damaged",
        "storage.runs",
        "aws --endpoint-url {endpoint_url} s3api copy-object --bucket {raw_bucket} --key 'runs/",
        rewritten("runs/", None),
    ),
    Fault(
        "a table was not taken",
        "storage.not_taken",
        'make execute INPUT=\'{"full_refresh": ["design"]}\'',
        rewritten("runs/", not_taken),
    ),
    Fault(
        "a raw file is gone",
        "storage.runs",
        "aws --endpoint-url {endpoint_url} s3api delete-object --bucket {raw_bucket} --key 'raw/",
        deleted("raw_bucket", "raw/address/"),
    ),
    Fault(
        "a star table is not in the catalogue",
        "lake.tables",
        "call glue_catalog.system.register_table('totesys_star.dim_design', "
        "'s3://{lake_bucket}/star/dim_design/metadata/",
        lambda world: table_forgotten(world, "totesys_star", "dim_design"),
    ),
    Fault(
        "a raw table is not in the catalogue",
        "lake.raw_tables",
        "make execute INPUT='{\"full_refresh\": true}'",
        lambda world: table_forgotten(world, "totesys_raw", "design"),
    ),
    Fault(
        "a file of the lake is gone",
        "lake.readable",
        "aws --endpoint-url {endpoint_url} s3api delete-object --bucket {lake_bucket} "
        "--key 'star/dim_currency/data/",
        deleted("lake_bucket", "star/dim_currency/data/"),
    ),
    Fault(
        "a table's newest metadata is gone",
        "lake.readable",
        "aws --endpoint-url {endpoint_url} s3api delete-object --bucket {lake_bucket} "
        "--key 'star/dim_currency/metadata/",
        deleted("lake_bucket", "star/dim_currency/metadata/", ".metadata.json"),
    ),
    Fault(
        "a row is quarantined",
        "lake.quarantine",
        "select * from totesys_star.quarantine;",
        quarantined,
    ),
    Fault(
        "a killed execution holds the lock",
        "runs.lock",
        "aws --endpoint-url {endpoint_url} dynamodb update-item --table-name {pipeline_table} ",
        lock_left,
    ),
    Fault("a run is not loaded", "runs.loaded", "make execute", not_loaded),
    Fault(
        "the schedule was switched by hand",
        "runs.schedule",
        "aws --endpoint-url {endpoint_url} events disable-rule --name totesys-Pipeline",
        called("events", "enable_rule", "disable_rule", schedule),
    ),
    Fault(
        "an alarm stands",
        "alerts.alarms",
        "aws --endpoint-url {endpoint_url} cloudwatch describe-alarm-history --alarm-name totesys-",
        called("cloudwatch", "set_alarm_state", "set_alarm_state", alarm),
    ),
    Fault(
        "an alarm tells nobody",
        "alerts.alarms",
        "aws --endpoint-url {endpoint_url} cloudwatch enable-alarm-actions --alarm-names totesys-",
        called("cloudwatch", "disable_alarm_actions", "enable_alarm_actions", silenced),
    ),
    Fault(
        "an event was not delivered",
        "alerts.undelivered",
        "aws --endpoint-url {endpoint_url} sqs receive-message --queue-url ",
        another_event,
    ),
    Fault(
        "a log group is gone",
        "alerts.logs",
        "aws --endpoint-url {endpoint_url} logs create-log-group --log-group-name /aws/lambda/",
        log_group_gone,
    ),
    Fault(
        "the template was changed",
        "stack.template",
        "make run",
        another_clone("template.yaml", "&load-memory 2048", "&load-memory 2049"),
    ),
    Fault(
        "a state machine was changed",
        "stack.definitions",
        "make run",
        another_clone("state_machine/pipeline.asl.json", '"Next": "Load"', '"Next": "Publish"'),
    ),
    Fault(
        "the jobs' code was changed",
        "stack.job_code",
        "make run",
        another_clone("glue_jobs/build/job.py", "import", "# changed\nimport"),
    ),
    Fault("code was edited since", "stack.local_code", "make run", edited_since),
    Fault("a function was changed", "stack.functions", "make run", function_changed),
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is only wrong after a while is wrong at once."""
    monkeypatch.setattr(open_transactions, "LONG", open_transactions.LONG * 0)
    monkeypatch.setattr(warehouse, "LONG_LOCK", "0 seconds")


def test_no_fault_is_found_in_a_stack_that_runs(world: World) -> None:
    found = world.look_at_all()

    well = (Status.OK, Status.NOT_APPLICABLE)
    assert [(check.name, finding) for check, finding in found if finding.status not in well] == []
    assert sum(finding.status is Status.OK for _, finding in found) >= 70


def test_a_quarantined_row_that_was_corrected_since_is_not_counted(world: World) -> None:
    with quarantined(world):
        message = world.look("lake.quarantine").message

    assert message == "rows of fact_payment are quarantined: 1, with the keys 2"


def test_the_doctor_cannot_write(world: World) -> None:
    place = world.place()

    for role in Role:
        with (
            pytest.raises(DatabaseRefused, match="read-only transaction"),
            place.connection(role) as connection,
        ):
            connection.execute("create table written ()")
    with pytest.raises(WriteRefused):
        place.client("s3").put_object(Bucket=world.stack.raw_bucket, Key="written", Body=b"")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found_and_what_is_named_mends_it(world: World, fault: Fault) -> None:
    with fault.inject(world):
        finding = world.look(fault.check)

        assert finding.status is Status.FAULT, finding
        wanted = fault.fix
        for name, value in vars(world.stack).items():
            wanted = wanted.replace(f"{{{name}}}", value)
        assert finding.fixes[0].startswith(wanted), finding.fixes
        if fault.is_applied:
            dsn = world.warehouse if fault.check.startswith("warehouse") else world.source
            world.execute(dsn, *finding.fixes)
            assert world.look(fault.check).status is Status.OK
