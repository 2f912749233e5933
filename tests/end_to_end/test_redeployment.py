"""A deleted stack is deployed again under its name, and goes on with what it left."""

from pathlib import Path

import boto3
import psycopg

from deployment import adopt
from local.deployment import STACK, deploy, outputs
from local.source.activity import new_sales_orders
from local.stack import Stack
from pipeline.manifest import Capture, ManifestStore
from tests.end_to_end.conftest import Run
from tests.end_to_end.test_executions import facts
from tests.oracle.comparison import current_differences


def delete_stack() -> dict[str, str]:
    """Deletes the stack, and returns the parameters that it had been given."""
    client = boto3.client("cloudformation")
    (stack,) = client.describe_stacks(StackName=STACK)["Stacks"]
    client.delete_stack(StackName=STACK)
    client.get_waiter("stack_delete_complete").wait(
        StackName=stack["StackId"], WaiterConfig={"Delay": 1}
    )
    return {
        one["ParameterKey"]: one["ParameterValue"]
        for one in stack["Parameters"]
        if one["ParameterKey"].endswith(("SecretArn", "SslMode")) and one["ParameterValue"]
    }


def test_a_deleted_stack_is_deployed_again_on_what_it_left_and_goes_on_incrementally(
    stack: Stack, succeed: Run, tmp_path: Path
) -> None:
    succeed()
    before, deployed = facts(stack), outputs()
    with psycopg.connect(stack.source_dsn) as source:
        new_sales_orders(source, 12)
        source.execute("update payment set paid = not paid where payment_id = 1")
        source.execute("delete from payment where payment_id = 2")

    parameters = delete_stack()
    assert outputs() is None
    assert adopt.main(["--config-env", "local"]) == 0
    deploy(parameters, tmp_path / "sam")

    assert outputs() == deployed
    output = succeed(verify=True).output
    assert output["status"] == "loaded"
    captured = ManifestStore(stack.raw_bucket, boto3.client("s3")).read(output["sequence"]).tables
    assert captured["sales_order"].capture is Capture.CHANGES
    for fact, rows in facts(stack).items():
        assert rows[: len(before[fact])] == before[fact]
    with (
        psycopg.connect(stack.source_dsn) as source,
        psycopg.connect(stack.warehouse_dsn) as warehouse,
    ):
        assert current_differences(source, warehouse) == []
