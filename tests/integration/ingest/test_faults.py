"""Ingests whose connection or credentials go away: nothing shows, and a retry brings all."""

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pipeline.database import Role, translated_errors
from pipeline.errors import SourceUnavailable
from tests.fixtures.proxy import Direction, Proxy
from tests.integration.ingest.ingestion import Ingestion

_CUTS = 16
"""How many places of an ingest the connections are cut at, each way."""


@pytest.fixture
def source(ingestion: Ingestion) -> Ingestion:
    """A source of two tables."""
    ingestion.execute(
        "create table design (id integer primary key, name text)",
        "insert into design select n, repeat('x', n) from generate_series(1, 300) as n",
        "create table paid (id integer primary key, amount numeric)",
        "insert into paid select n, n / 7.0 from generate_series(1, 300) as n",
    )
    return ingestion


@pytest.mark.no_cover
@pytest.mark.parametrize("direction", Direction)
def test_connections_that_are_cut_at_any_byte_leave_nothing_and_a_retry_brings_all(
    source: Ingestion,
    new_bucket: Callable[[str], str],
    new_proxy: Callable[[int], Proxy],
    direction: Direction,
) -> None:
    proxy = new_proxy(int(str(conninfo_to_dict(source.dsn)["port"])))
    proxied = make_conninfo(source.dsn, port=proxy.port, sslmode="disable", gssencmode="disable")
    proxy.cut_after(None)
    undisturbed = replace(source, dsn=proxied)
    undisturbed.run()
    passed = proxy.passed[direction]
    for number in range(_CUTS):
        disturbed = replace(source, dsn=proxied, bucket=new_bucket("cut"))
        place = passed * number // _CUTS
        proxy.cut_after(place, direction)

        with pytest.raises(SourceUnavailable), translated_errors(Role.SOURCE):
            disturbed.run()

        assert not [key for key in disturbed.objects() if key.startswith("runs/")]
        again = replace(disturbed, dsn=source.dsn)
        again.run()
        for table in ("design", "paid"):
            assert again.taken(table) == undisturbed.taken(table), f"cut after {place} bytes"


def test_credentials_that_are_rotated_between_two_connections_of_a_run_are_worth_a_retry(
    source: Ingestion, reader_dsn: str
) -> None:
    role = sql.Identifier(str(conninfo_to_dict(reader_dsn)["user"]))
    reader = replace(source, dsn=reader_dsn)

    def rotate(_: psycopg.Connection) -> None:
        with psycopg.connect(source.dsn) as connection:
            connection.execute(sql.SQL("alter role {} password 'changed'").format(role))

    with (
        pytest.raises(SourceUnavailable, match="password authentication failed"),
        translated_errors(Role.SOURCE),
    ):
        reader.run(connect=reader.at_snapshot(rotate))

    assert source.objects() == {}
    assert replace(reader, dsn=make_conninfo(reader_dsn, password="changed")).run().committed
