"""awswrangler.postgresql.to_sql, which takes frames: one for each chunk of the file."""

from urllib.parse import urlsplit

import awswrangler
import pg8000

from benchmarks.load.contenders.task import TABLE, batches, warehouse_url

_ROWS_A_STATEMENT = 1000


def main() -> None:
    """Inserts one frame after another, each in a transaction."""
    place = urlsplit(warehouse_url())
    connection = pg8000.connect(
        user=place.username,
        password=place.password,
        host=place.hostname,
        port=place.port,
        database=place.path.lstrip("/"),
    )
    for batch in batches():
        awswrangler.postgresql.to_sql(
            batch.to_pandas(),
            connection,
            table=TABLE,
            schema="public",
            mode="append",
            chunksize=_ROWS_A_STATEMENT,
        )
    connection.close()


if __name__ == "__main__":
    main()
