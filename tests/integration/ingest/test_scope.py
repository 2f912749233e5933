"""Schemas, tables and columns are captured or left out, as the parameters say."""

import dataclasses
from typing import Any

import psycopg
import pytest
from psycopg.sql import Composable

from lambdas.ingest.scope import Scope
from local.source.generate import create_and_fill
from pipeline.errors import InvalidSettings
from pipeline.manifest import Capture
from star_schema.tables import joined_sources, star_tables
from tests.integration.ingest.ingestion import Ingestion, captures, not_taken

SECRET = "a secret that must never leave the source"


@pytest.fixture
def people(ingestion: Ingestion) -> Ingestion:
    """People in two schemas, with a column of secrets."""
    ingestion.execute(
        "create schema hr",
        "create table public.person (id integer primary key, name text, secret text)",
        "create table hr.person (id integer primary key, name text, secret text)",
        "create table hr.salary (person_id integer, amount numeric(10,2), secret text)",
        f"insert into public.person values (1, 'Ann', '{SECRET}')",
        f"insert into hr.person values (1, 'Bea', '{SECRET}'), (2, 'Cid', '{SECRET}')",
        f"insert into hr.salary values (1, 'NaN', '{SECRET}'), (2, 5, '{SECRET}')",
    )
    return ingestion


def stored(ingestion: Ingestion) -> bytes:
    """Returns everything in the raw bucket."""
    keys = ingestion.objects()
    bodies = [ingestion.client.get_object(Bucket=ingestion.bucket, Key=key) for key in keys]
    text = b"".join(body["Body"].read() for body in bodies)
    parquet = [ingestion.file(key).to_pylist() for key in keys if key.endswith(".parquet")]
    return text + repr(parquet).encode()


def test_tables_of_one_name_in_two_schemas_are_two_tables(people: Ingestion) -> None:
    scope = Scope(("public", "hr"))
    people.run(scope=scope)
    people.execute("update hr.person set name = 'Bee' where id = 1")

    result = people.run(scope=scope)

    assert captures(result) == {
        "hr.person": (Capture.CHANGES, 1),
        "hr.salary": (Capture.NONE, 0),
        "person": (Capture.NONE, 0),
    }
    assert [row["name"] for row in people.taken("hr.person")] == ["Bee"]


def test_the_first_schema_has_the_bare_names(people: Ingestion) -> None:
    people.run(scope=Scope(("hr", "public")))

    assert list(people.manifest().tables) == ["person", "public.person", "salary"]
    assert [row["name"] for row in people.taken("public.person")] == ["Ann"]


def test_two_tables_that_would_have_one_name_cost_no_other_table(people: Ingestion) -> None:
    scope = Scope(("public", "hr"))
    people.run(scope=scope)
    people.execute(
        'create table public."hr.person" (id integer)',
        "update hr.person set name = 'Bee' where id = 1",
        "update person set name = 'Amy'",
    )

    result = people.run(scope=scope)

    assert captures(result)["person"] == (Capture.CHANGES, 1)
    assert list(not_taken(result)) == ["hr.person"]
    assert "tables of the schemas hr and public have this name" in not_taken(result)["hr.person"]
    assert not [warning for warning in result.warnings if "gone" in warning]
    result = people.run(scope=Scope(("public", "hr"), ("public.hr?person",)))
    assert captures(result)["hr.person"] == (Capture.CHANGES, 1)


def test_a_schema_that_does_not_exist_is_refused(people: Ingestion) -> None:
    with pytest.raises(InvalidSettings, match="SourceSchemas names sales"):
        people.run(scope=Scope(("public", "sales")))


def test_what_is_left_out_is_in_no_object_and_in_no_statement(people: Ingestion) -> None:
    scope = Scope(("public", "hr"), ("hr.person",), ("*.secret",))
    asked: list[str] = []

    class Connection(psycopg.Connection[Any]):
        def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            asked.append(query.as_string(self) if isinstance(query, Composable) else str(query))
            return super().execute(query, *args, **kwargs)

    people.execute("set log_statement = 'none'")
    people.run(scope=scope, connect=lambda: Connection.connect(people.dsn))
    people.execute("update hr.salary set amount = 7 where person_id = 2")
    people.run(scope=scope, connect=lambda: Connection.connect(people.dsn))

    assert SECRET.encode() not in stored(people)
    assert b"Bea" not in stored(people)
    assert not [text for text in asked if '"secret"' in text]
    assert set(people.manifest().tables) == {"hr.salary", "person"}


def test_a_role_needs_no_right_to_a_table_that_is_left_out(
    people: Ingestion, blind_dsn: str
) -> None:
    people.execute(
        "grant usage on schema hr to public",
        "grant select on public.person to public",
        "grant select on hr.salary to public",
    )
    scope = Scope(("public", "hr"), ("hr.person",))

    result = people.run(scope=scope, connect=lambda: psycopg.connect(blind_dsn))

    assert captures(result) == {"hr.salary": (Capture.WHOLE, 1), "person": (Capture.WHOLE, 1)}


def test_leaving_out_what_was_captured_says_once_where_it_stays(people: Ingestion) -> None:
    people.run(scope=Scope(("public", "hr")))
    before = people.objects()
    scope = Scope(("public", "hr"), ("hr.person",), ("hr.salary.secret",))

    result = people.run(scope=scope)

    place = f"s3://{people.bucket}/raw"
    assert result.warnings[0] == (
        "table hr.person is left out; what was captured before stays in "
        f"{place}/hr.person/, {place}_keys/hr.person/, {place}_quarantine/hr.person/"
    )
    assert result.warnings[1].startswith("column hr.salary.secret is left out; what was captured")
    assert before.items() <= people.objects().items()
    assert not [one for one in people.run(scope=scope).warnings if "left out" in one]


def test_a_table_that_is_gone_and_has_a_dot_in_its_name_is_not_said_to_be_left_out(
    people: Ingestion,
) -> None:
    people.execute('create table "old.times" ()', 'alter table "old.times" add id integer')
    people.run()
    people.execute('drop table "old.times"')

    (warning,) = people.run().warnings

    assert warning.startswith(
        "table old.times is gone, or is of a schema that SourceSchemas does not name; what was"
    )


def test_a_hyphen_leaves_nothing_out(people: Ingestion) -> None:
    people.execute("create table _prisma_migrations (id integer primary key)")

    result = people.run(scope=Scope.of(("public",), ("-",), ()))

    assert captures(result).keys() == {"_prisma_migrations", "person"}
    assert result.warnings == ()


def test_a_schema_that_is_no_longer_captured_says_where_it_stays(people: Ingestion) -> None:
    people.run(scope=Scope(("public", "hr")))

    result = people.run(scope=Scope(("public",)))

    assert [warning.split(";")[0] for warning in result.warnings] == [
        "table hr.person is gone, or is of a schema that SourceSchemas does not name",
        "table hr.salary is gone, or is of a schema that SourceSchemas does not name",
    ]


def test_a_pattern_that_matches_nothing_is_reported(people: Ingestion) -> None:
    result = people.run(scope=Scope(("public",), ("persons",), ("person.secrets",)))

    assert result.warnings == (
        "SourceTablesLeftOut has persons, which matches no table",
        "SourceColumnsLeftOut has person.secrets, which matches no column",
    )


@pytest.mark.parametrize("pattern", ["person.id", "*.id", "public.person.?d"])
def test_a_table_with_a_column_of_its_key_left_out_costs_no_other(
    people: Ingestion, pattern: str
) -> None:
    people.execute("create table place (name text primary key)", "insert into place values ('a')")

    result = people.run(scope=Scope(columns_left_out=(pattern,)))

    assert "part of the table's key" in not_taken(result)["person"]
    assert people.taken("place") == [{"name": "a"}]


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        (
            Scope(tables_left_out=("staff",)),
            "SourceTablesLeftOut leaves out staff, which dim_staff",
        ),
        (Scope(tables_left_out=("public.s*",)), "SourceTablesLeftOut leaves out"),
        (
            Scope(columns_left_out=("staff.email_address",)),
            r"staff\.email_address, which dim_staff",
        ),
        (Scope(columns_left_out=("payment.payment_id",)), r"payment\.payment_id"),
        (Scope(columns_left_out=("*.last_updated",)), "SourceColumnsLeftOut leaves out"),
    ],
)
def test_a_star_table_that_needs_what_is_left_out_says_so_before_any_work(
    ingestion: Ingestion, scope: Scope, reason: str
) -> None:
    create_and_fill(ingestion.dsn, scale=0.01)
    source = dataclasses.replace(ingestion, stars=star_tables())

    with pytest.raises(InvalidSettings, match=reason):
        source.run(scope=scope)

    assert not source.objects()


def test_columns_that_no_star_table_needs_can_be_left_out(ingestion: Ingestion) -> None:
    create_and_fill(ingestion.dsn, scale=0.01)
    stars = star_tables()
    source = dataclasses.replace(ingestion, stars=stars, joined=joined_sources(stars))
    scope = Scope(columns_left_out=("payment.*_ac_number",))

    result = source.run(scope=scope, verify=True)

    assert not [name for name in source.taken("payment")[0] if "ac_number" in name]
    assert result.fingerprints
    assert not [star for star in result.fingerprints if star.failure]


@pytest.mark.parametrize(
    "parameters",
    [
        ((), (), ()),
        (("public",), ("a.b.c",), ()),
        (("public",), ("",), ()),
        (("public",), (), ("secret",)),
        (("public",), (), ("a.b.c.d",)),
        (("public",), (), ("person.",)),
    ],
)
def test_a_malformed_parameter_is_refused(parameters: Any) -> None:
    with pytest.raises(InvalidSettings, match="Source"):
        Scope.of(*parameters)
