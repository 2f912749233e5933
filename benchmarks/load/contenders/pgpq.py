"""pgpq's binary COPY from Arrow, through psycopg."""

import pgpq
import psycopg

from benchmarks.load.contenders.task import TABLE, batches, schema, warehouse_url


def main() -> None:
    """Encodes and copies one record batch after another."""
    encoder = pgpq.ArrowToPostgresBinaryEncoder(schema())
    with psycopg.connect(warehouse_url()) as connection, connection.cursor() as cursor:
        statement = f"copy {TABLE} from stdin (format binary)"
        with cursor.copy(statement.encode()) as copy:
            copy.write(encoder.write_header())
            for batch in batches():
                copy.write(encoder.write_batch(batch))
            copy.write(encoder.finish())


if __name__ == "__main__":
    main()
