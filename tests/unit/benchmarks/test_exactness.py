"""Files are exact where every value equals the source's, however it is typed and ordered."""

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ingest.exactness import Comparison, Reference, canonical, compare

TYPES = {
    "order_id": "integer",
    "price": "numeric",
    "at": "timestamp without time zone",
    "place": "character varying",
}
PRINTED = {
    "order_id": ["1", "2", "3"],
    "price": ["2.5", "30", None],
    "at": ["2026-01-31 09:30:00", "2026-01-31 09:30:00.000001", "2026-02-01 00:00:00.1"],
    "place": ["", None, "None"],
}
MICROSECOND = datetime.timedelta(microseconds=1)
MORNING = datetime.datetime(2026, 1, 31, 9, 30)
FOUND: dict[str, pa.Array] = {
    "order_id": pa.array([1, 2, 3], pa.int32()),
    "price": pa.array([Decimal("2.50"), Decimal("30.00"), None], pa.decimal128(38, 2)),
    "at": pa.array(
        [MORNING, MORNING + MICROSECOND, datetime.datetime(2026, 2, 1, 0, 0, 0, 100_000)],
        pa.timestamp("us"),
    ),
    "place": pa.array(["", None, "None"]),
}


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    """Three orders, as psql prints them."""
    path = tmp_path / "reference.parquet"
    pq.write_table(
        pa.table({name: pa.array(v, pa.large_string()) for name, v in PRINTED.items()}), path
    )
    return Reference(path, "order_id", TYPES)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The folder that a contender writes to."""
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


def write(folder: Path, name: str = "part", **columns: Any) -> None:
    table = pa.table(FOUND | columns)
    (folder / name).parent.mkdir(exist_ok=True)
    pq.write_table(table, folder / f"{name}.parquet")


def differences(reference: Reference, output: Path) -> tuple[str, ...]:
    return compare(reference, output).differences


def texts(values: Any, source_type: str) -> Any:
    return canonical(values, source_type).to_pylist()


def test_the_same_values_are_exact(reference: Reference, output: Path) -> None:
    write(output)

    assert compare(reference, output) == Comparison((), ("price is decimal128(38, 2)",))


def test_numerics_kept_as_text_are_exact_and_as_wide_as_the_source(
    reference: Reference, output: Path
) -> None:
    write(output, price=pa.array(["2.500", "30", None]))

    assert compare(reference, output) == Comparison(())


def test_an_extension_type_counts_as_what_it_stores(reference: Reference, output: Path) -> None:
    prices = pa.ExtensionArray.from_storage(
        pa.opaque(pa.string(), "numeric", "PostgreSQL"), pa.array(["2.5", "30", None])
    )
    write(output, price=prices)

    assert differences(reference, output) == ()


@pytest.mark.parametrize("unit", ["us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_timestamps_may_have_any_unit_that_holds_microseconds(
    reference: Reference, output: Path, unit: str, zone: str | None
) -> None:
    write(output, at=FOUND["at"].cast(pa.timestamp(unit, zone)))

    assert differences(reference, output) == ()


def test_rows_may_come_in_any_order_and_in_any_number_of_files(
    reference: Reference, output: Path
) -> None:
    whole = pa.table(FOUND)
    pq.write_table(whole.take([2, 0]), output / "a.parquet")
    (output / "more").mkdir()
    pq.write_table(whole.take([1]), output / "more" / "b.parquet")

    assert differences(reference, output) == ()


def test_files_of_a_writers_own_are_left_out(reference: Reference, output: Path) -> None:
    write(output)
    write(output, "_state/part")

    assert differences(reference, output) == ()


def test_a_floating_numeric_is_not_exact_even_where_it_prints_alike(
    reference: Reference, output: Path
) -> None:
    write(output, price=pa.array([2.5, 30.0, None], pa.float64()))

    assert differences(reference, output) == ("price is double",)


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("order_id", pa.array([1, 2, 4]), "order_id: 1 values differ, such as '4' for '3'"),
        ("price", pa.array(["2.51", "30", None]), "price: 1 values differ, such as '2.51'"),
        ("price", pa.array(["2.5", "3", None]), "price: 1 values differ, such as '3' for '30'"),
        ("price", pa.array(["2.5", "30", "0"]), "price: 1 values differ, such as '0' for None"),
        ("at", FOUND["at"].cast(pa.timestamp("ms"), safe=False), "at: 1 values differ"),
        ("place", pa.array([None, None, "None"]), "place: 1 values differ, such as None for ''"),
        ("place", pa.array(["", None, None]), "place: 1 values differ, such as None for 'None'"),
        ("place", pa.array([1.5, None, None]), "place is double"),
        ("place", pa.array([[1], None, None]), "place (list<"),
    ],
)
def test_any_other_value_is_named(
    reference: Reference, output: Path, column: str, values: Any, said: str
) -> None:
    write(output, **{column: values})

    (difference,) = differences(reference, output)

    assert difference.startswith(said)


def test_missing_rows_and_columns_are_named(reference: Reference, output: Path) -> None:
    assert differences(reference, output) == ("0 rows instead of 3",)

    pq.write_table(pa.table(FOUND).drop_columns(["price", "at"]), output / "part.parquet")

    assert differences(reference, output) == ("without price, at",)


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=12, min_value=-(10**9), max_value=10**9
    )
)
def test_numerics_are_one_text_for_one_value(value: Decimal) -> None:
    typed = pa.array([value], pa.decimal128(38, 15))
    printed = pa.array([format(value, "f")])

    (text,) = texts(typed, "numeric")

    assert [text] == texts(printed, "numeric(38,12)")
    assert Decimal(text) == value


def test_whole_numbers_keep_their_zeros() -> None:
    assert texts(pa.array([100, None]), "numeric") == ["100", None]
    assert texts(pa.array(["100.00"]), "character varying") == ["100.00"]
