"""The lake, where it is missing or does not answer."""

import dataclasses
from typing import Any, cast

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EndpointConnectionError
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.exceptions import NoSuchTableError

from lambdas.load.catalog import WarehouseTable
from lambdas.load.lake import Lake, glue_catalog
from pipeline.errors import AccessRefused, ObjectStoreUnavailable, StarSchemaMismatch

_ONCE = Config(retries={"total_max_attempts": 1})

PAYMENT = WarehouseTable(
    "fact_payment", "payment_record_id", (), (), natural_key="payment_id", is_fact=True
)


class FailingCatalog:
    """A catalogue that fails to load any table."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def load_table(self, name: tuple[str, str]) -> Any:
        raise self._error


def lake(error: Exception) -> Lake:
    return Lake(cast(GlueCatalog, FailingCatalog(error)), "star")


def test_a_table_that_was_never_built_has_no_rows_and_nothing_malformed() -> None:
    empty = lake(NoSuchTableError("star.fact_payment"))

    versions = empty.versions(PAYMENT, after=0, through=9)
    assert (list(versions.batches()), versions.snapshot, versions.most_rows) == ([], None, 0)
    assert empty.malformed(PAYMENT, "payment_id") == frozenset()
    assert list(empty.broken_rules({"fact_payment": (0, 9)})) == []


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ThrottlingException"}}, "GetTable"),
        EndpointConnectionError(endpoint_url="https://glue"),
        OSError("connection reset"),
    ],
    ids=["refused", "unreachable", "broken off"],
)
def test_a_lake_that_does_not_answer_is_worth_a_retry(error: Exception) -> None:
    with pytest.raises(ObjectStoreUnavailable, match="could not read fact_payment of the lake"):
        lake(error).versions(PAYMENT, after=0, through=9)


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetTable"),
        OSError("When reading 'a': AWS Error ACCESS_DENIED during HeadObject operation"),
    ],
    ids=["Glue", "Amazon S3"],
)
def test_a_right_to_the_lake_that_is_refused_is_permanent(error: Exception) -> None:
    with pytest.raises(AccessRefused, match="could not read fact_payment of the lake"):
        lake(error).versions(PAYMENT, after=0, through=9)


def test_a_listed_lake_asks_the_catalogue_for_tables_alone_that_are_not_in_the_list(
    moto_aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    glue = boto3.client("glue")
    glue.create_database(DatabaseInput={"Name": "star"})
    glue.create_table(DatabaseName="star", TableInput={"Name": "fact_payment"})
    listed = Lake(glue_catalog(boto3.client("s3")), "star").listed()
    glue.delete_table(DatabaseName="star", Name="fact_payment")
    other = dataclasses.replace(PAYMENT, name="fact_sales_order")

    assert listed.versions(other, after=0, through=9).table is None
    with pytest.raises(StarSchemaMismatch, match=r"fact_payment of .* star is no Iceberg table"):
        listed.versions(PAYMENT, after=0, through=9)
    refused = ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetTable")
    monkeypatch.setattr(GlueCatalog, "load_table", FailingCatalog(refused).load_table)
    with pytest.raises(AccessRefused, match="could not read fact_sales_order of the lake"):
        listed.versions(other, after=0, through=9)


def test_a_catalogue_of_several_pages_is_listed_whole(
    moto_aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = glue_catalog(boto3.client("s3"))
    pages = {"": ("dim_staff", "1"), "1": ("dim_date", "2"), "2": ("dim_design", None)}

    def get_tables(DatabaseName: str, NextToken: str = "") -> dict[str, Any]:  # noqa: N803
        name, token = pages[NextToken]
        assert DatabaseName == "star"
        return {"TableList": [{"Name": name}], **({"NextToken": token} if token else {})}

    monkeypatch.setattr(catalog.glue, "get_tables", get_tables)

    assert list(Lake(catalog, "star").listed().locations or ()) == [
        "dim_staff",
        "dim_date",
        "dim_design",
    ]


def test_a_catalogue_that_does_not_answer_is_worth_a_retry() -> None:
    glue = boto3.client("glue", "eu-west-2", endpoint_url="http://127.0.0.1:1", config=_ONCE)
    catalog = GlueCatalog("glue", glue)

    with pytest.raises(ObjectStoreUnavailable, match="could not read the tables of the lake"):
        Lake(catalog, "star").listed()


def test_the_catalogue_reads_files_where_the_sdk_does_and_with_its_credentials(
    moto_aws: None,
) -> None:
    client = boto3.client("s3", endpoint_url="http://127.0.0.1:1")

    properties = glue_catalog(client, Credentials("key", "secret", "token")).properties

    assert properties["s3.endpoint"] == "http://127.0.0.1:1"
    assert properties["s3.region"] == "eu-west-2"
    assert properties["s3.access-key-id"] == "key"
    assert properties["s3.secret-access-key"] == "secret"
    assert properties["s3.session-token"] == "token"


def test_without_credentials_arrow_finds_its_own(moto_aws: None) -> None:
    properties = glue_catalog(boto3.client("s3")).properties

    assert properties.get("s3.access-key-id") is None
