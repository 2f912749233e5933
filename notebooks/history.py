"""A notebook on the history of the facts: `make notebook`."""

import marimo

app = marimo.App(width="medium", app_title="The history of the facts")

with app.setup:
    import boto3
    import marimo as mo
    import psycopg
    import pyarrow.compute as pc
    from psycopg.rows import dict_row

    from lambdas.load.lake import glue_catalog
    from local.stack import LocalStack


@app.cell(hide_code=True)
def _():
    mo.md("""
    # The history of the facts

    The warehouse keeps each version of an order or a payment as a row. The lake keeps snapshots.
    Both show the payments as they were after each run. This notebook reads the same state from
    both, and compares them.
    """)
    return


@app.cell
def _():
    stack = LocalStack().current()
    return (stack,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## From the warehouse
    For each run: the newest version of each payment up to that run. Amounts are added for each
    currency.
    """)
    return


@app.cell
def _(stack):
    statement = """
        select
            run.sequence,
            run.snapshot_at,
            currency_id,
            count(*) filter (where paid) as paid,
            count(*) filter (where not paid) as unpaid,
            coalesce(sum(payment_amount) filter (where not paid), 0) as unpaid_amount
        from captured_run as run
        cross join lateral (
            select distinct on (payment_id) *
            from fact_payment
            where run_id in (
                select earlier.run_id
                from captured_run as earlier
                where earlier.sequence <= run.sequence
            )
            order by payment_id, payment_record_id desc
        ) as payment
        where not payment.is_deleted
        group by run.sequence, run.snapshot_at, currency_id
        order by run.sequence, currency_id
    """
    with psycopg.connect(stack.warehouse_dsn) as connection:
        warehouse_rows = connection.cursor(row_factory=dict_row).execute(statement).fetchall()
    mo.ui.table(warehouse_rows, selection=None)
    return (warehouse_rows,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## From the lake, by time travel
    Each snapshot of the Iceberg table names the run that it had reached. A scan of a snapshot
    reads the table as it was.
    """)
    return


@app.cell
def _(stack):
    table = glue_catalog(boto3.client("s3")).load_table((stack.glue_database, "fact_payment"))
    snapshots = {
        int(snapshot.summary["applied-through"]): snapshot.snapshot_id
        for snapshot in table.snapshots()
        if snapshot.summary is not None and snapshot.summary["applied-through"]
    }
    mo.ui.table(
        [{"run": run, "snapshot": str(snapshot)} for run, snapshot in snapshots.items()],
        selection=None,
    )
    return snapshots, table


@app.cell
def _(snapshots, table):
    def unpaid_in_lake(snapshot):
        """Returns the number of unpaid payments by currency, as a snapshot has them."""
        rows = table.scan(snapshot_id=snapshot).to_arrow().sort_by("payment_record_id")
        newest = rows.group_by("payment_id", use_threads=False).aggregate(
            [("paid", "last"), ("is_deleted", "last"), ("currency_id", "last")]
        )
        unpaid = newest.filter(
            pc.and_(pc.invert(newest["paid_last"]), pc.invert(newest["is_deleted_last"]))
        )
        counts = unpaid.group_by("currency_id_last").aggregate([([], "count_all")])
        return dict(zip(*(column.to_pylist() for column in counts.columns), strict=True))

    lake = {run: unpaid_in_lake(snapshot) for run, snapshot in snapshots.items()}
    return (lake,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Compared
    Unpaid payments after each run that the lake still has a snapshot of.
    """)
    return


@app.cell
def _(lake, warehouse_rows):
    compared = [
        {
            "run": row["sequence"],
            "currency": row["currency_id"],
            "warehouse": row["unpaid"],
            "lake": lake[row["sequence"]].get(row["currency_id"], 0),
        }
        for row in warehouse_rows
        if row["sequence"] in lake
    ]
    differences = [one for one in compared if one["warehouse"] != one["lake"]]
    mo.ui.table(compared, selection=None)
    return compared, differences


if __name__ == "__main__":
    app.run()
