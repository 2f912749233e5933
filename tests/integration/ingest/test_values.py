"""Values arrive in the raw zone exactly as the source has them."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import LiteralString

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from tests.integration.ingest.ingestion import Ingestion

LARGE = 20 * 1024 * 1024
TEXTS = [
    "two\nlines",
    "a carriage\r\nreturn\r",
    "\n",
    'a "quoted" word',
    '"',
    '""',
    'O\'Hara, "Bros"',
    "back\\slash\\n",
    "\\.",
    "\n\\.\n",
    ",",
    "\t",
    "  spaces kept  ",
    "东京通り Łódź 🧺 e\u0301",
    "\ufeffa byte order mark",
    "\u2028\u0085\u200b",
    "\x01\x1f\x7f",
    "00123",
    "t",
    "2024-01-01",
    "1e5",
]


def arrives(ingestion: Ingestion, source_type: LiteralString, values: list[object]) -> list[object]:
    """Puts values into a column at the source, and returns what an ingest takes of it."""
    with ingestion.connect() as connection:
        connection.execute("drop table if exists held")
        connection.execute(
            sql.SQL("create table held (id integer primary key, value {})").format(
                sql.SQL(source_type)
            )
        )
        with connection.cursor() as cursor:
            cursor.executemany("insert into held values (%s, %s)", list(enumerate(values)))
    ingestion.run()
    return [row["value"] for row in sorted(ingestion.taken("held"), key=lambda row: row["id"])]


def test_a_numeric_without_precision_keeps_every_digit(ingestion: Ingestion) -> None:
    values = ["0", "2.50", "1.000000000000000000000000000000000000000000001", "-" + "9" * 200]

    assert arrives(ingestion, "numeric", [*values, None, "NaN", "Infinity"]) == [
        *values,
        None,
        "NaN",
        "Infinity",
    ]


def test_a_numeric_with_precision_is_an_exact_decimal(ingestion: Ingestion) -> None:
    values = [Decimal("99999999.99"), Decimal("-0.01"), Decimal("3.10"), None]

    assert arrives(ingestion, "numeric(10,2)", [*values]) == values


def test_the_widest_decimals_are_exact(ingestion: Ingestion) -> None:
    values = [Decimal("0." + "9" * 38), Decimal("-0." + "0" * 37 + "1")]

    assert arrives(ingestion, "numeric(38,38)", [*values]) == values


def test_a_numeric_beyond_parquets_decimals_is_kept_as_text(ingestion: Ingestion) -> None:
    assert arrives(ingestion, "numeric(50,10)", ["9" * 40 + ".0000000001"]) == [
        "9" * 40 + ".0000000001"
    ]
    assert arrives(ingestion, "numeric(3,-2)", [12300]) == ["12300"]


@pytest.mark.parametrize(
    ("source_type", "least", "greatest"),
    [
        ("smallint", -(2**15), 2**15 - 1),
        ("integer", -(2**31), 2**31 - 1),
        ("bigint", -(2**63), 2**63 - 1),
    ],
)
def test_integers_keep_their_whole_range(
    ingestion: Ingestion, source_type: LiteralString, least: int, greatest: int
) -> None:
    assert arrives(ingestion, source_type, [least, None, 0, greatest]) == [least, None, 0, greatest]


def test_floats_keep_every_bit_and_their_infinities(ingestion: Ingestion) -> None:
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), None]

    assert arrives(ingestion, "double precision", [*values]) == values


def test_booleans_and_dates_keep_their_type(ingestion: Ingestion) -> None:
    assert arrives(ingestion, "boolean", [True, False, None]) == [True, False, None]
    dates = [date(1, 1, 1), date(2024, 2, 29), date(9999, 12, 31), None]
    assert arrives(ingestion, "date", [*dates]) == dates


def test_timestamps_keep_microseconds(ingestion: Ingestion) -> None:
    values = [datetime(2022, 11, 3, 14, 20, 49, 962001), datetime(1, 1, 1), None]

    assert arrives(ingestion, "timestamp", [*values]) == values


def test_timestamps_of_milliseconds_are_those_of_the_source(ingestion: Ingestion) -> None:
    assert arrives(ingestion, "timestamp(3)", ["2022-11-03 14:20:49.9621"]) == [
        datetime(2022, 11, 3, 14, 20, 49, 962000)
    ]


def test_timestamps_with_a_zone_are_the_same_instant_in_utc(ingestion: Ingestion) -> None:
    assert arrives(ingestion, "timestamptz", ["2024-07-01 12:00:00.000001+05:30", None]) == [
        datetime(2024, 7, 1, 6, 30, 0, 1, tzinfo=UTC),
        None,
    ]


def test_null_and_the_empty_string_stay_apart(ingestion: Ingestion) -> None:
    values = ["", None, "null", "NULL", "None", "N/A", "\\N", " "]

    assert arrives(ingestion, "varchar", [*values]) == values


def test_text_arrives_whatever_it_holds(ingestion: Ingestion) -> None:
    assert arrives(ingestion, "text", [*TEXTS]) == TEXTS


@pytest.mark.parametrize("text", ["\ufeffa byte order mark", "\\.", "", "\n", None])
def test_a_tables_only_column_arrives_whatever_it_holds(
    ingestion: Ingestion, text: str | None
) -> None:
    with ingestion.connect() as connection:
        connection.execute("create table lonely (value text)")
        connection.execute("insert into lonely values (%s), (%s)", [text, text])

    ingestion.run()

    assert ingestion.taken("lonely") == [{"value": text}, {"value": text}]


def test_the_longest_texts_arrive_whole(ingestion: Ingestion) -> None:
    values = ["x" * LARGE, '"\n' * (LARGE // 4), "short", "é" * 5_000_000]

    assert arrives(ingestion, "text", [*values]) == values


def test_rows_beyond_one_block_arrive_once_and_in_full(ingestion: Ingestion) -> None:
    ingestion.execute(
        "create table many (id integer primary key, value text)",
        "insert into many select n, repeat(md5(n::text), 8) from generate_series(1, 60000) as n",
    )

    ingestion.run()

    manifest = ingestion.manifest().tables["many"]
    table = ingestion.file(manifest.files[0])
    assert manifest.rows == table.num_rows == 60000
    assert sorted(table.column("id").to_pylist()) == list(range(1, 60001))


def test_types_without_a_parquet_type_arrive_as_postgresqls_text(ingestion: Ingestion) -> None:
    ingestion.execute(
        "create type mood as enum ('happy, or not', 'sad')",
        "create domain amount as numeric(6,3) check (value > 0)",
        """create table odd (bytes bytea, id uuid, document json, binary_document jsonb,
            list text[], span interval, mood mood, period tstzrange, address inet, padded char(4),
            at time(2), price amount)""",
        r"""insert into odd values ('\x00ff5c', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
            '{"a" : "\u0041\\"}', '{"b":1, "a":[null]}', '{a,NULL,"with \"quotes\"",""}',
            '1 mon 2 days 03:04:05.000006', 'happy, or not', '[2024-01-01 00:00+00,)', '10.0.0.1',
            'ab', '12:34:56.789', 1.5)""",
    )

    ingestion.run()

    assert ingestion.taken("odd") == [
        {
            "bytes": "\\x00ff5c",
            "id": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "document": '{"a" : "\\u0041\\\\"}',
            "binary_document": '{"a": [null], "b": 1}',
            "list": '{a,NULL,"with \\"quotes\\"",""}',
            "span": "1 mon 2 days 03:04:05.000006",
            "mood": "happy, or not",
            "period": '["2024-01-01 00:00:00+00",)',
            "address": "10.0.0.1",
            "padded": "ab  ",
            "at": "12:34:56.79",
            "price": Decimal("1.500"),
        }
    ]


@pytest.mark.parametrize(
    ("source_type", "value"),
    [
        ("timestamp", "infinity"),
        ("timestamptz", "-infinity"),
        ("timestamp", "0044-03-15 12:00:00 BC"),
        ("timestamp", "10000-01-01 00:00:00"),
        ("date", "infinity"),
        ("date", "0044-03-15 BC"),
        ("date", "5874897-12-31"),
        ("timestamp", "294247-01-10 04:00:54.775806"),
        ("timestamp", "294247-01-10 04:00:54.775807"),
        ("timestamp", "294247-01-10 04:00:54.775808"),
        ("timestamp", "294276-12-31 23:59:59.999999"),
        ("timestamp", "4713-01-01 00:00:00 BC"),
        ("timestamptz", "294276-12-31 23:59:59.999999+00"),
        ("numeric(10,2)", "NaN"),
    ],
)
def test_a_row_with_a_value_that_its_type_cannot_hold_waits_in_the_quarantine(
    ingestion: Ingestion, source_type: LiteralString, value: str
) -> None:
    ingestion.execute(
        f"create table held (id integer primary key, value {source_type})",
        "insert into held values (1, null)",
    )
    with ingestion.connect() as connection:
        connection.execute("insert into held values (2, %s)", [value])

    result = ingestion.run()

    held = ingestion.manifest().tables["held"]
    assert ingestion.taken("held") == [{"id": 1, "value": None}]
    assert held.not_held == 1
    (waiting,) = ingestion.files(held.quarantine_files)
    assert (waiting["source_table"], waiting["column_name"]) == ("held", "value")
    assert waiting["value"] == value
    assert json.loads(waiting["primary_key"]) == {"id": "2"}
    assert held.columns[1].raw_type in waiting["reason"]
    assert "table held has 1 values that its raw types cannot hold" in result.warnings[0]


@pytest.mark.parametrize(
    ("source_type", "value", "printed"),
    [
        ("bpchar", "'ab  '", "ab  "),
        ("bpchar[]", "array['ab  '::bpchar]", '{"ab  "}'),
        ("character(3)[]", "array['a'::character(3)]", '{"a  "}'),
        ('"char"', "'a'", "a"),
        ("inet", "'10.0.0.1'", "10.0.0.1"),
        ("inet[]", "array['10.0.0.1'::inet]", "{10.0.0.1}"),
        ("boolean[]", "array[true]", "{t}"),
        ("code", "'a'", "a  "),
        ("deep", "'a'", "a  "),
        ("deep[]", "array['a'::deep]", '{"a  "}'),
        ("couple", "row(null, null)", "(,)"),
        ("couple", "null", None),
        ("spoken", "row('a', null)", "(a,)"),
    ],
)
def test_a_value_is_what_its_output_function_prints(
    ingestion: Ingestion, source_type: LiteralString, value: LiteralString, printed: str | None
) -> None:
    ingestion.execute(
        "create domain code as character(3)",
        "create domain deep as code",
        "create type couple as (a text, b text)",
        "create type spoken as (a text, b text)",
        "create function speak(spoken) returns text language sql as $$select 'no'$$",
        "create cast (spoken as text) with function speak(spoken)",
        f"create table held (id integer primary key, value {source_type})",
        f"insert into held values (1, {value})",
    )

    ingestion.run()

    assert ingestion.taken("held") == [{"id": 1, "value": printed}]


def test_a_table_of_as_many_columns_as_possible_arrives(ingestion: Ingestion) -> None:
    names = ", ".join(f"c{number} date" for number in range(1600))
    with ingestion.connect() as connection:
        connection.execute(f"create table wide ({names})".encode())
        connection.execute("insert into wide (c0, c1599) values ('2024-01-01', '2024-01-02')")
        connection.execute("insert into wide (c1, c1598) values ('infinity', '2024-01-02')")

    ingestion.run()

    (row,) = ingestion.taken("wide")
    (waiting,) = ingestion.files(ingestion.manifest().tables["wide"].quarantine_files)
    assert (len(row), row["c0"], row["c1599"]) == (1600, date(2024, 1, 1), date(2024, 1, 2))
    assert (waiting["column_name"], waiting["value"]) == ("c1", "infinity")


def test_columns_that_differ_by_case_alone_keep_their_names(ingestion: Ingestion) -> None:
    ingestion.execute(
        'create table cased (id integer primary key, "ID" text, a text, "A" date)',
        """insert into cased values (1, 'one', 'a', '2024-01-01'), (2, 'two', 'b', 'infinity')""",
    )

    ingestion.run()

    (waiting,) = ingestion.files(ingestion.manifest().tables["cased"].quarantine_files)
    assert ingestion.taken("cased") == [{"id": 1, "ID": "one", "a": "a", "A": date(2024, 1, 1)}]
    assert waiting["column_name"] == "A"
    assert json.loads(waiting["source_row"]) == {"id": "2", "ID": "two", "a": "b", "A": "infinity"}


def test_a_row_that_waits_in_the_quarantine_has_not_gone(ingestion: Ingestion) -> None:
    ingestion.execute(
        "create table held (id integer primary key, value date)",
        "insert into held values (1, null), (2, 'infinity')",
    )

    ingestion.run()

    assert ingestion.swept("held") == [{"id": 1}, {"id": 2}]


def test_every_value_of_a_row_that_is_not_held_is_kept_and_named(ingestion: Ingestion) -> None:
    ingestion.execute(
        """create table "o'dd" ("a b" integer, "O""k" text, until timestamp, price numeric(4,2),
            primary key ("O""k", "a b"))""",
        """insert into "o'dd" values (1, 'é "x"', 'infinity', 'NaN')""",
    )

    ingestion.run()

    capture = ingestion.manifest().tables["o'dd"]
    rows = ingestion.files(capture.quarantine_files)
    assert (capture.rows, capture.not_held) == (0, 2)
    assert {(row["column_name"], row["value"]) for row in rows} == {
        ("until", "infinity"),
        ("price", "NaN"),
    }
    assert json.loads(rows[0]["primary_key"]) == {'O"k': 'é "x"', "a b": "1"}
    assert json.loads(rows[0]["source_row"]) == {
        "a b": "1",
        'O"k': 'é "x"',
        "until": "infinity",
        "price": "NaN",
    }


def test_a_value_that_is_not_held_costs_no_other_row_or_table(ingestion: Ingestion) -> None:
    ingestion.execute(
        "create table held (id integer primary key, value date)",
        "insert into held select n, '2024-01-01' from generate_series(1, 9999) as n",
        "insert into held values (0, '-infinity')",
        "create table other (id integer primary key)",
        "insert into other values (1)",
    )

    ingestion.run()

    assert ingestion.manifest().tables["held"].rows == 9999
    assert ingestion.taken("other") == [{"id": 1}]


def test_a_corrected_value_arrives_with_the_next_run(ingestion: Ingestion) -> None:
    ingestion.execute(
        "create table held (id integer primary key, value date)",
        "insert into held values (1, '2024-01-01'), (2, 'infinity')",
    )
    ingestion.run()
    ingestion.execute("update held set value = '2024-01-02' where id = 2")

    result = ingestion.run()

    assert ingestion.taken("held") == [{"id": 2, "value": date(2024, 1, 2)}]
    assert not result.warnings


any_text = st.none() | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from('",\n\r\\.\t\ufeff '),
    max_size=20,
)
any_decimal = st.none() | st.decimals(
    min_value=Decimal("-99999999.99"), max_value=Decimal("99999999.99"), places=2
)
any_number = st.none() | st.decimals(allow_nan=False, allow_infinity=False).filter(
    lambda number: abs(number.adjusted()) < 300
)


@settings(
    max_examples=10,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=st.lists(st.tuples(any_text, any_decimal, any_number, any_text), max_size=60))
def test_any_text_and_any_number_arrive_as_they_are(
    ingestion: Ingestion,
    rows: list[tuple[str | None, Decimal | None, Decimal | None, str | None]],
) -> None:
    with ingestion.connect() as connection:
        connection.execute("drop table if exists anything")
        connection.execute(
            "create table anything (label text, price numeric(10,2), amount numeric, note text)"
        )
        with connection.cursor() as cursor:
            cursor.executemany("insert into anything values (%s, %s, %s, %s)", rows)

    ingestion.run()

    assert [
        (row["label"], row["price"], _number(row["amount"]), row["note"])
        for row in ingestion.taken("anything")
    ] == rows


def _number(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
