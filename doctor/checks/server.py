"""What both databases need: a secret, a way, TLS, a version, and room for the connections."""

import re
import socket
from collections.abc import Callable
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from doctor.checks.network import parameter_group
from doctor.finding import CannotLook, Check, Finding, fault, judged, not_applicable, ok
from doctor.place import Place
from pipeline.database import Role
from pipeline.errors import (
    AccessRefused,
    DatabaseRefused,
    InvalidSettings,
    PipelineError,
    SourceUnavailable,
    WarehouseUnavailable,
    first_line,
)
from pipeline.settings import SSL_MODES

OLDEST, NEWEST = 13, 18
"""The versions of PostgreSQL that the pipeline works with: docs/design.md."""
_EXPIRES_WITHIN = "7 days"
_FIELDS = '{"host": "…", "port": 5432, "username": "…", "password": "…", "dbname": "…"}'
_NO_ENCRYPTION = ("no encryption", "SSL off", "SSL/TLS required", "SSL required")
_NO_PASSWORD = ("no password supplied",)

_ROOM: LiteralString = """
select
    role.rolname::text,
    role.rolconnlimit,
    role.rolvaliduntil is not null and role.rolvaliduntil < now() + %(soon)s::interval,
    role.rolvaliduntil::text,
    (select count(*) from pg_stat_activity where usename = role.rolname) - 1,
    pg_catalog.current_setting('max_connections')::integer
        - pg_catalog.current_setting('superuser_reserved_connections')::integer
        - coalesce(pg_catalog.current_setting('reserved_connections', true), '0')::integer
        - (select count(*) from pg_stat_activity where backend_type = 'client backend') + 1,
    pg_catalog.current_setting('max_connections')::integer,
    database.datname::text,
    database.datconnlimit,
    (select count(*) from pg_stat_activity where datname = database.datname) - 1
from pg_roles as role
join pg_database as database on database.datname = current_database()
where role.rolname = current_user
"""


def checks_of(role: Role) -> tuple[Check, ...]:
    """Returns the checks of one of the databases."""

    def of(look: Callable[[Place, Role], Finding]) -> Callable[[Place], Finding]:
        return lambda place: look(place, role)

    return (
        Check(
            f"{role}.secret",
            f"the secret of the {role}: there, readable, well-formed, and its KMS key",
            of(_secret),
        ),
        Check(
            f"{role}.reachable", f"a connection to the {role}, from this machine", of(_reachable)
        ),
        Check(f"{role}.tls", f"that the {role}'s certificate and name are verified", of(_tls)),
        Check(
            f"{role}.tls_forced",
            f"that the {role}'s server refuses connections without TLS",
            of(_tls_forced),
        ),
        Check(f"{role}.version", f"the {role}'s version of PostgreSQL", of(_version)),
        Check(f"{role}.encoding", f"the encoding of the {role}'s database", of(_encoding)),
        Check(
            f"{role}.room",
            "free connections of server, database and role; how long the password is valid",
            of(_room),
        ),
    )


def _secret(place: Place, role: Role) -> Finding:
    arn = place.settings(role).secret_arn
    parameter = f"{role.capitalize()}SecretArn"
    client = place.client("secretsmanager")
    try:
        secret = client.describe_secret(SecretId=arn)
    except client.exceptions.ResourceNotFoundException:
        fix = "make run" if place.is_local else place.deploy_with(f"{parameter}=arn:…")
        return fault(f"there is no secret {arn} for the {role}", fix)
    if secret.get("DeletedDate"):
        return fault(
            f"the secret {arn} of the {role} is being deleted",
            f"aws secretsmanager restore-secret --secret-id {arn}",
        )
    key, given = secret.get("KmsKeyId", ""), place.parameters.get(f"{role.capitalize()}KmsKeyArn")
    if key and "alias/aws/" not in key and not given:
        return fault(
            f"the secret of the {role} is encrypted with {key}, which the functions may not use",
            place.deploy_with(f"{role.capitalize()}KmsKeyArn={key}"),
        )
    try:
        login = place.login(role)
    except AccessRefused as error:
        raise CannotLook(
            str(error), f"allow your own identity secretsmanager:GetSecretValue of {arn}"
        ) from error
    except InvalidSettings as error:
        return fault(str(error), "make run" if place.is_local else put_secret(place, role))
    return ok(f"{login.keywords['user']} at {login.host}")


def put_secret(place: Place, role: Role) -> str:
    """Returns the command that writes a database's secret."""
    arn = place.settings(role).secret_arn
    return f"aws secretsmanager put-secret-value --secret-id {arn} --secret-string '{_FIELDS}'"


def _reachable(place: Place, role: Role) -> Finding:
    try:
        place.login(role)
    except PipelineError as error:
        raise CannotLook(f"the {role}'s secret cannot be used: see {role}.secret") from error
    try:
        with place.open(role) as connection:
            version = connection.info.server_version // 10000
    except (DatabaseRefused, InvalidSettings) as error:
        fix = _admission(place, role, str(error))
        return fault(str(error), fix or put_secret(place, role))
    except (SourceUnavailable, WarehouseUnavailable) as error:
        return _unreachable(place, role, error)
    if place.is_local:
        return ok(f"connected to PostgreSQL {version} from this machine, where the functions run")
    return ok(
        f"connected to PostgreSQL {version} from this machine; the functions' own way is not "
        "proved by it: see network.*, and runs.last_execution"
    )


def _unreachable(place: Place, role: Role, error: PipelineError) -> Finding:
    if fix := _admission(place, role, str(error)):
        return fault(str(error), fix)
    login = place.login(role)
    host, port = login.host, login.keywords.get("port", "5432")
    if place.local is not None:
        is_ours = role is Role.WAREHOUSE or place.local.has_generated_source
        return fault(str(error), "make run" if is_ours else f"start the server at {host}:{port}")
    if not host.startswith("/"):
        try:
            socket.getaddrinfo(host, port)
        except OSError:
            return fault(f"the {role}'s host {host} has no address", put_secret(place, role))
    raise CannotLook(
        f"{error}. This machine may be outside the {role}'s network: network.* describe the "
        "functions' way",
        "make doctor   # from a machine, or an AWS CloudShell environment, in the functions' VPC",
    )


def _admission(place: Place, role: Role, reason: str) -> str | None:
    """Returns what makes the server accept the connection, by its reason; None by another one."""
    login = place.login(role)
    user = sql.Identifier(login.keywords["user"]).as_string()
    database = sql.Identifier(login.keywords.get("dbname", login.keywords["user"])).as_string()
    put = put_secret(place, role)
    known: dict[str, str] = {
        r"connection pooler": put,
        r"password authentication failed": f"alter role {user} password '…';   -- or {put}",
        r"no password supplied": put,
        r'role "[^"]*" does not exist': f"create role {user} login password '…';",
        r"not permitted to log in": f"alter role {user} login;",
        r'database "[^"]*" does not exist': f"create database {database} encoding 'UTF8';",
        r"permission denied for database": f"grant connect on database {database} to {user};",
        r"no pg_hba.conf entry": (
            f"hostssl {database} {user} <the functions' addresses> scram-sha-256   "
            "# a line of the server's pg_hba.conf"
        ),
        r"too many connections for role": f"alter role {user} connection limit -1;",
        r"too many connections for database": f"alter database {database} connection limit -1;",
        r"too many clients|connection slots": (
            "alter system set max_connections = …;   -- then restart the server"
        ),
        r"does not support SSL": "alter system set ssl = on;   -- with a certificate",
        r"certificate": f'{put}   # with "sslrootcert": the authority\'s certificate',
    }
    return next((fix for text, fix in known.items() if re.search(text, reason)), None)


def _tls(place: Place, role: Role) -> Finding:
    login = place.login(role)
    mode = login.keywords["sslmode"]
    if login.host.startswith("/") or place.is_local:
        return not_applicable(f"the {role} is on this machine, or was given to `make run`")
    strongest = SSL_MODES[-1]
    if mode != strongest:
        in_secret = place.settings(role).ssl_mode == strongest
        return fault(
            f"the {role} is connected with sslmode {mode}, which does not verify its name",
            f"remove sslmode from the secret {place.settings(role).secret_arn}"
            if in_secret
            else place.deploy_with(f"DatabaseSslMode={strongest}"),
        )
    with place.connection(role) as connection:
        if not connection.pgconn.ssl_in_use:
            raise CannotLook("the connection has no TLS, though sslmode demands it")
    return ok("the server's certificate and name were verified on a connection from this machine")


def _tls_forced(place: Place, role: Role) -> Finding:
    """Asks for a connection without TLS and without the password: the server's answer tells."""
    login = place.login(role)
    if login.host.startswith("/") or place.is_local:
        return not_applicable(f"the {role} is on this machine, or was given to `make run`")
    with place.connection(role):
        pass
    keywords: dict[str, Any] = dict(login.keywords)
    keywords |= {"sslmode": "disable", "passfile": "/dev/null", "password": ""}  # nosec B105
    try:
        psycopg.connect(**keywords).close()
    except psycopg.OperationalError as error:
        if any(text in str(error) for text in _NO_ENCRYPTION):
            return ok("the server refuses connections without TLS")
        if not any(text in str(error) for text in _NO_PASSWORD):
            raise CannotLook(f"the server's answer does not tell: {first_line(error)}") from error
    group = parameter_group(place, role)
    return fault(
        f"the {role}'s server takes connections without TLS",
        f"aws rds modify-db-parameter-group --db-parameter-group-name {group} --parameters "
        "ParameterName=rds.force_ssl,ParameterValue=1,ApplyMethod=immediate"
        if group
        else "host → hostssl   # in the server's pg_hba.conf, then: select pg_reload_conf();",
    )


def _version(place: Place, role: Role) -> Finding:
    with place.connection(role) as connection:
        version = connection.info.server_version // 10000
    if version < OLDEST:
        return fault(
            f"the {role} is PostgreSQL {version}, and {OLDEST} is the oldest that works",
            f"upgrade the server to PostgreSQL {NEWEST}   # pg_upgrade, or Amazon RDS",
        )
    if version > NEWEST:
        raise CannotLook(f"the {role} is PostgreSQL {version}, newer than {NEWEST}: untested")
    return ok(f"PostgreSQL {version}")


def _encoding(place: Place, role: Role) -> Finding:
    with place.connection(role) as connection:
        encoding = connection.info.parameter_status("server_encoding")
        name = sql.Identifier(connection.info.dbname).as_string()
    if encoding == "SQL_ASCII" or (encoding != "UTF8" and role is Role.WAREHOUSE):
        return fault(
            f"the {role}'s database has the encoding {encoding}",
            f"create database {name} encoding 'UTF8' template template0;   -- then copy into it",
        )
    return ok(f"{encoding}")


def _room(place: Place, role: Role) -> Finding:
    needed = place.ingest.readers + 1 if role is Role.SOURCE else 1
    with place.connection(role) as connection:
        row = connection.execute(_ROOM, {"soon": _EXPIRES_WITHIN}).fetchone()
    assert row is not None  # noqa: S101 - a session has a role  # nosec B101
    name, limit, expires, until, used, free, most, database, of_database, in_database = row
    user = sql.Identifier(name).as_string()
    problems: dict[str, str] = {}
    if expires:
        problems[f"the password of {name} is valid until {until}"] = (
            f"alter role {user} valid until 'infinity';"
        )
    if 0 <= limit < used + needed:
        problems[f"{name} may have {limit} connections, and {used + needed} are needed"] = (
            f"alter role {user} connection limit -1;"
        )
    if 0 <= of_database < in_database + needed:
        problems[f"the database {database} takes {of_database} connections"] = (
            f"alter database {sql.Identifier(database).as_string()} connection limit -1;"
        )
    if free < needed:
        problems[f"{free} of {most} connections are free, and {needed} are needed"] = (
            f"alter system set max_connections = {most + 100};   -- then restart the server"
        )
    return judged(problems, f"{free} of {most} connections are free, and {needed} are needed")
