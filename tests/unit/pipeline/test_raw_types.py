"""Raw types have a name in Spark and in Athena, whichever of them Ingest gives."""

import pytest

from lambdas.ingest.raw_types import raw_type
from pipeline.errors import ManifestInvalid
from pipeline.raw_types import athena_type, is_padded, spark_type


@pytest.mark.parametrize(
    ("source_type", "spark", "athena"),
    [
        ("smallint", "smallint", "smallint"),
        ("integer", "int", "int"),
        ("bigint", "bigint", "bigint"),
        ("boolean", "boolean", "boolean"),
        ("real", "float", "float"),
        ("double precision", "double", "double"),
        ("text", "string", "string"),
        ("uuid", "string", "string"),
        ("date", "date", "date"),
        ("timestamp(3) without time zone", "timestamp_ntz", "timestamp"),
        ("timestamp with time zone", "timestamp", "timestamp"),
        ("numeric(10,2)", "decimal(10,2)", "decimal(10,2)"),
        ("numeric", "string", "string"),
    ],
)
def test_a_postgresql_type_has_a_name_in_spark_and_in_athena(
    source_type: str, spark: str, athena: str
) -> None:
    name = raw_type(source_type).name

    assert (spark_type(name), athena_type(name)) == (spark, athena)


@pytest.mark.parametrize("name", ["", "int128", "decimal128(10,2)", "list<item: string>"])
def test_a_raw_type_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(ManifestInvalid, match="deploy the version that wrote it"):
        spark_type(name)


@pytest.mark.parametrize(
    ("source_type", "means_nothing"),
    [
        ("character(3)", True),
        ("character", True),
        ("bpchar", True),
        ('"char"', False),
        ("character varying(3)", False),
        ("character varying", False),
        ("text", False),
        ("character(3)[]", False),
    ],
)
def test_the_blanks_at_the_end_of_character_mean_nothing(
    source_type: str, *, means_nothing: bool
) -> None:
    assert is_padded(source_type) is means_nothing
