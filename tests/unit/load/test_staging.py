"""The SQL that compares staged rows with the warehouse's."""

from lambdas.load.catalog import WarehouseColumn, WarehouseTable
from lambdas.load.staging import are_equal

_TYPES = {"note": "character varying(5)", "code": "text", "amount": "numeric(6,2)"}


def test_texts_are_compared_byte_by_byte_whatever_collation_their_column_has() -> None:
    columns = tuple(WarehouseColumn(*one, is_required=False) for one in _TYPES.items())
    table = WarehouseTable("dim_x", "code", columns, (), natural_key="code", is_fact=False)

    assert are_equal(table).as_string(None) == (
        '("held"."note" collate "C", "held"."code" collate "C", "held"."amount") '
        "is not distinct from "
        '("stage"."note" collate "C", "stage"."code" collate "C", "stage"."amount")'
    )
