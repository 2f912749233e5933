"""How PostgreSQL's types are stored in the raw zone."""

import pytest

from lambdas.ingest.raw_types import raw_type


@pytest.mark.parametrize(
    ("source_type", "stored_as"),
    [
        ("smallint", "int16"),
        ("integer", "int32"),
        ("bigint", "int64"),
        ("boolean", "bool"),
        ("date", "date32[day]"),
        ("real", "float"),
        ("double precision", "double"),
        ("numeric(10,2)", "decimal128(10, 2)"),
        ("numeric(38,38)", "decimal128(38, 38)"),
        ("timestamp without time zone", "timestamp[us]"),
        ("timestamp(3) without time zone", "timestamp[us]"),
        ("timestamp(0) with time zone", "timestamp[us, tz=UTC]"),
    ],
)
def test_a_type_that_parquet_has_keeps_its_type(source_type: str, stored_as: str) -> None:
    assert raw_type(source_type).name == stored_as


@pytest.mark.parametrize(
    "source_type",
    [
        "numeric",
        "numeric(39,2)",
        "numeric(3,-2)",
        "numeric(2,5)",
        "text",
        "character varying(3)",
        "integer[]",
        "timestamp without time zone[]",
        "numeric(10,2)[]",
        "uuid",
        "interval",
        "mood",
        '"integer"',
    ],
)
def test_any_other_type_is_postgresqls_own_text(source_type: str) -> None:
    assert raw_type(source_type).name == "string"
