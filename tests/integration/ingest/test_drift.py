"""The source's schema changes between runs, or while one reads."""

import psycopg
import pytest
from psycopg import sql

from pipeline.errors import SourceBusy
from pipeline.manifest import Capture, Column
from tests.integration.ingest.ingestion import Ingestion, captures


@pytest.fixture
def designs(ingestion: Ingestion) -> Ingestion:
    """A source of two designs, which a first run has taken."""
    ingestion.execute(
        "create table design (design_id integer primary key, name text, price numeric(6,2))",
        "insert into design values (1, 'Oak', 2.50), (2, null, 3)",
    )
    ingestion.run()
    return ingestion


def test_a_new_column_is_reported_and_the_table_taken_whole(designs: Ingestion) -> None:
    designs.execute("alter table design add column colour text not null default 'red'")

    result = designs.run()

    assert result.warnings == ("column design.colour is new",)
    assert captures(result) == {"design": (Capture.WHOLE, 2)}
    assert [row["colour"] for row in designs.taken("design")] == ["red", "red"]
    assert designs.manifest().tables["design"].columns[-1] == Column("colour", "text", "string")


def test_a_dropped_column_is_reported_and_the_table_taken_whole(designs: Ingestion) -> None:
    designs.execute("alter table design drop column price")

    result = designs.run()

    assert result.warnings == ("column design.price is gone",)
    assert designs.taken("design") == [
        {"design_id": 1, "name": "Oak"},
        {"design_id": 2, "name": None},
    ]


def test_a_renamed_column_is_one_gone_and_one_new(designs: Ingestion) -> None:
    designs.execute("alter table design rename column name to label")

    result = designs.run()

    assert result.warnings == ("column design.label is new", "column design.name is gone")
    assert [row["label"] for row in designs.taken("design")] == ["Oak", None]


def test_a_retyped_column_is_reported_with_both_types(designs: Ingestion) -> None:
    designs.execute("alter table design alter column price type numeric")

    result = designs.run()

    assert result.warnings == ("column design.price was numeric(6,2) and is now numeric",)
    assert [row["price"] for row in designs.taken("design")] == ["2.50", "3.00"]


def test_a_column_dropped_and_added_again_is_taken_with_its_new_content(
    designs: Ingestion,
) -> None:
    designs.execute(
        "alter table design drop column price",
        "alter table design add column price numeric(6,2) default 9",
    )

    designs.run()

    assert [str(row["price"]) for row in designs.taken("design")] == ["9.00", "9.00"]


def test_a_renamed_value_of_an_enumeration_is_taken(ingestion: Ingestion) -> None:
    ingestion.execute(
        "create type mood as enum ('glad', 'sad')",
        "create table staff (staff_id integer primary key, mood mood)",
        "insert into staff values (1, 'glad')",
    )
    ingestion.run()
    ingestion.execute("alter type mood rename value 'glad' to 'merry'")

    ingestion.run()

    assert ingestion.taken("staff") == [{"staff_id": 1, "mood": "merry"}]


def test_drift_is_reported_once(designs: Ingestion) -> None:
    designs.execute("alter table design add column colour text")
    designs.run()

    result = designs.run()

    assert (result.committed, result.warnings) == (False, ())


def test_a_new_table_is_reported_and_taken_whole(designs: Ingestion) -> None:
    designs.execute("create table colour (name text)", "insert into colour values ('red')")

    result = designs.run()

    assert result.warnings == ("table colour is new",)
    assert captures(result) == {"colour": (Capture.WHOLE, 1), "design": (Capture.NONE, 0)}


def test_a_dropped_table_is_reported_and_leaves_the_manifest(designs: Ingestion) -> None:
    designs.execute("create table colour (name text)", "drop table design")

    result = designs.run()

    assert result.committed
    assert result.warnings == ("table colour is new", "table design is gone")
    assert list(designs.manifest().tables) == ["colour"]


@pytest.mark.parametrize("runs_without", [1, 2])
def test_the_chain_of_a_table_that_was_gone_goes_on_when_it_returns(
    designs: Ingestion, runs_without: int
) -> None:
    designs.execute("create table other (id integer primary key)")
    designs.execute("alter table design rename to design_old")
    for _ in range(runs_without):
        designs.execute("insert into other select count(*) from other")
        designs.run()
    assert "design" not in designs.manifest().tables
    designs.execute("alter table design_old rename to design")

    designs.run()

    manifest = designs.manifest()
    assert manifest.tables["design"].capture is Capture.WHOLE
    assert manifest.tables["design"].previous_change == 1
    assert list(manifest.gone) == ["design_old"]


def test_a_source_that_lost_its_last_table_is_reported(designs: Ingestion) -> None:
    designs.execute("drop table design")

    assert designs.run().warnings == ("table design is gone",)
    assert not designs.run().committed


def test_a_table_dropped_and_created_again_is_taken_whole(designs: Ingestion) -> None:
    designs.execute(
        "alter table design rename to old",
        "create table design (like old including all)",
        "insert into design select * from old where design_id = 1",
        "drop table old",
    )

    result = designs.run()

    assert captures(result) == {"design": (Capture.WHOLE, 1)}


def test_a_primary_key_that_came_or_went_takes_the_table_whole(designs: Ingestion) -> None:
    designs.execute("alter table design drop constraint design_pkey")
    assert captures(designs.run()) == {"design": (Capture.WHOLE, 2)}
    assert designs.manifest().tables["design"].primary_key == ()
    designs.execute("alter table design add primary key (design_id)")

    assert captures(designs.run()) == {"design": (Capture.WHOLE, 2)}
    assert designs.manifest().tables["design"].primary_key == ("design_id",)


def test_tables_and_columns_of_any_name_are_taken_and_followed(ingestion: Ingestion) -> None:
    names = ["two words", 'a "quote"', "UPPER", "per cent %s", "{braces}", "order", "été", "a.b"]
    with ingestion.connect() as connection:
        for name in map(sql.Identifier, names):
            connection.execute(
                sql.SQL("create table {0} ({0} integer primary key, other text)").format(name)
            )
            connection.execute(sql.SQL("insert into {} values (1), (2)").format(name))
    ingestion.run()
    with ingestion.connect() as connection:
        for name in map(sql.Identifier, names):
            connection.execute(sql.SQL("update {0} set other = '' where {0} = 1").format(name))

    result = ingestion.run()

    assert captures(result) == dict.fromkeys(names, (Capture.CHANGES, 1))
    for table in names:
        assert ingestion.taken(table) == [{table: 1, "other": ""}]


def test_a_table_of_the_same_name_in_another_schema_is_not_mistaken_for_it(
    designs: Ingestion,
) -> None:
    designs.execute("create schema mine", "create table mine.design (like public.design)")
    other_path = psycopg.conninfo.make_conninfo(designs.dsn, options="-c search_path=mine")

    result = designs.run(connect=lambda: psycopg.connect(other_path), full_refresh=True)

    assert captures(result) == {"design": (Capture.WHOLE, 2)}


def test_views_foreign_schemas_and_temporary_tables_are_no_tables_of_the_source(
    designs: Ingestion,
) -> None:
    designs.execute(
        "create view designs as select * from design",
        "create materialized view kept as select * from design",
        "create schema other",
        "create table other.place (id integer)",
        "create temporary table draft (id integer)",
    )

    designs.run(full_refresh=True)

    assert list(designs.manifest().tables) == ["design"]


@pytest.mark.parametrize(
    "statement",
    [
        "truncate design",
        "alter table design alter column name type varchar(9) using upper(name)",
        "alter table design alter column price type text",
        "alter table design drop column price",
        "drop table design",
    ],
)
def test_a_table_that_is_rewritten_while_a_run_reads_is_left_to_the_next_attempt(
    designs: Ingestion, statement: str
) -> None:
    before = designs.manifest()

    def rewrite(_: psycopg.Connection) -> None:
        with psycopg.connect(designs.dsn) as other:
            other.execute(statement.encode())

    with pytest.raises(SourceBusy, match=r"table design cannot be read now"):
        designs.run(connect=designs.at_snapshot(rewrite), full_refresh=True, is_last_attempt=False)

    assert designs.manifest() == before
    assert designs.run().committed
