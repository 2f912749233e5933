"""The types of the raw zone's columns, and their names in Spark and in Athena.

A raw type is named as Arrow names it, which is the name that a manifest has. How a PostgreSQL type
becomes a raw type: lambdas/ingest/raw_types.py.
"""

import re
from typing import NamedTuple

from pipeline.errors import ManifestInvalid

_DECIMAL = re.compile(r"decimal128\((\d+), (\d+)\)")
_PADDED = re.compile(r"character(\(\d+\))?|bpchar")


class _Names(NamedTuple):
    spark: str
    athena: str


_TYPES = {
    "int16": _Names("smallint", "smallint"),
    "int32": _Names("int", "int"),
    "int64": _Names("bigint", "bigint"),
    "bool": _Names("boolean", "boolean"),
    "float": _Names("float", "float"),
    "double": _Names("double", "double"),
    "string": _Names("string", "string"),
    "date32[day]": _Names("date", "date"),
    "timestamp[us]": _Names("timestamp_ntz", "timestamp"),
    "timestamp[us, tz=UTC]": _Names("timestamp", "timestamp"),
}


def spark_type(raw_type: str) -> str:
    """Returns Spark's name of a raw type.

    Raises:
        ManifestInvalid: There is no such raw type.
    """
    return _names(raw_type).spark


def athena_type(raw_type: str) -> str:
    """Returns the name of a raw type in the Glue Data Catalog, which Athena reads.

    Raises:
        ManifestInvalid: There is no such raw type.
    """
    return _names(raw_type).athena


def is_padded(source_type: str) -> bool:
    """Whether the trailing blanks of a type's values mean nothing.

    The raw zone keeps them, as PostgreSQL prints the value. PostgreSQL removes them where it
    compares two values, or converts a value to another type of text (documentation, "Character
    Types"); so does whatever reads the raw zone for the star schema.

    Args:
        source_type: The type as `format_type` of PostgreSQL prints it, domains resolved.
    """
    return _PADDED.fullmatch(source_type) is not None


def _names(raw_type: str) -> _Names:
    if match := _DECIMAL.fullmatch(raw_type):
        decimal = f"decimal({match[1]},{match[2]})"
        return _Names(decimal, decimal)
    if raw_type not in _TYPES:
        raise ManifestInvalid(
            f"a manifest names the raw type {raw_type}, which this version does not know: deploy "
            "the version that wrote it"
        )
    return _TYPES[raw_type]
