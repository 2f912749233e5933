"""The notebook on the history of the facts, executed on the deployed stack."""

import psycopg

from local.stack import Stack
from notebooks.history import app
from tests.end_to_end.conftest import Run


def test_the_notebook_reads_the_same_payments_from_the_warehouse_and_the_lake(
    stack: Stack, succeed: Run
) -> None:
    succeed()

    _, values = app.run(defs={"stack": stack})

    newest = max(row["run"] for row in values["compared"])
    with psycopg.connect(stack.warehouse_dsn) as warehouse:
        row = warehouse.execute("select count(*) from current_payment where not paid").fetchone()
    shown = [one for one in values["compared"] if one["run"] == newest]
    assert row == (sum(one["lake"] for one in shown),)
    assert [one for one in values["differences"] if one["run"] == newest] == []
