"""The network and the warehouse beside the pipeline: what is reached from where, and how."""

import json
import re
from typing import Any

import boto3
import pytest

from pipeline.secret import read_login
from pipeline.settings import DatabaseSettings
from tests.template import ROOT, TEMPLATE, read_template
from tests.unit.template.resources import FUNCTION, of_type

NETWORK, WAREHOUSE = (
    read_template("network.template.yaml"),
    read_template("warehouse.template.yaml"),
)
INSTANCE = WAREHOUSE["Resources"]["Warehouse"]


def resources(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {
        name: resource["Properties"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == f"AWS::{kind}"
    }


def test_the_network_leads_nowhere_but_to_the_services_that_the_functions_call():
    inside = [
        name.removesuffix("Function").lower()
        for name, function in of_type(FUNCTION).items()
        if "VpcConfig" in function
    ]
    folders = [ROOT / "lambdas" / name for name in inside] + [ROOT / "pipeline"]
    code = "".join(path.read_text() for folder in folders for path in folder.rglob("*.py"))
    called = set(re.findall(r"client\(\s*\"([\w-]+)\"", code))
    assert {"s3", "secretsmanager"} < called
    # PyIceberg's catalogue makes a client of its own for Glue. The endpoint of Step Functions is
    # named after the address of the service.
    endpoints = resources(NETWORK, "EC2::VPCEndpoint")
    reached = {one["ServiceName"]["Fn::Sub"].rsplit(".", 1)[1] for one in endpoints.values()}

    assert reached - {"states"} == called - {"stepfunctions"} | {"glue"}
    assert ("states" in reached) == ("stepfunctions" in called)
    kinds = {resource["Type"] for resource in NETWORK["Resources"].values()}
    assert not kinds & {"AWS::EC2::Route", "AWS::EC2::NatGateway", "AWS::EC2::InternetGateway"}


def test_every_endpoint_is_in_both_subnets_and_has_the_services_own_name():
    endpoints = resources(NETWORK, "EC2::VPCEndpoint")
    assert endpoints.pop("S3Endpoint")["VpcEndpointType"] == "Gateway"
    for endpoint in endpoints.values():
        assert endpoint["SubnetIds"] == [{"Ref": "SubnetA"}, {"Ref": "SubnetB"}]
        assert endpoint["SecurityGroupIds"] == [{"Ref": "EndpointSecurityGroup"}]
        assert endpoint["PrivateDnsEnabled"] is True


def test_the_database_is_reached_by_the_functions_alone():
    ingress = resources(NETWORK, "EC2::SecurityGroupIngress")
    to_database = [
        rule for rule in ingress.values() if rule["GroupId"] == {"Ref": "DatabaseSecurityGroup"}
    ]
    (rule,) = to_database
    assert rule["SourceSecurityGroupId"] == {"Ref": "FunctionSecurityGroup"}
    assert (rule["FromPort"], rule["ToPort"]) == (5432, 5432)
    for group in resources(NETWORK, "EC2::SecurityGroup").values():
        assert "SecurityGroupIngress" not in group
        assert group["SecurityGroupEgress"]


def test_each_stack_hands_on_what_the_next_one_asks_for_under_its_name():
    handed = NETWORK["Outputs"].keys() | WAREHOUSE["Outputs"].keys()
    required = {n for n, held in WAREHOUSE["Parameters"].items() if "Default" not in held}
    assert required <= NETWORK["Outputs"].keys()
    assert handed - required <= TEMPLATE["Parameters"].keys()
    assert {"VpcSubnetIds", "WarehouseSecretArn", "WarehouseAdminSecretArn"} <= handed


def test_a_warehouse_of_ones_own_is_private_encrypted_backed_up_and_hard_to_lose():
    properties = INSTANCE["Properties"]
    assert properties["PubliclyAccessible"] is False
    assert properties["StorageEncrypted"] is True
    assert properties["ManageMasterUserPassword"] is True
    assert "MasterUserPassword" not in properties
    assert properties["EnablePerformanceInsights"] is True
    assert properties["DeletionProtection"] == {"Ref": "DeletionProtection"}
    assert WAREHOUSE["Parameters"]["DeletionProtection"]["Default"] == "true"
    assert WAREHOUSE["Parameters"]["BackupDays"]["MinValue"] == 1
    assert INSTANCE["DeletionPolicy"] == INSTANCE["UpdateReplacePolicy"] == "Snapshot"
    (settings,) = resources(WAREHOUSE, "RDS::DBParameterGroup").values()
    assert settings["Parameters"]["rds.force_ssl"] == "1"
    assert settings["Family"] == {"Fn::Sub": "postgres${EngineVersion}"}


@pytest.mark.usefixtures("moto_aws")
def test_the_loads_secret_is_one_that_the_pipeline_reads():
    generated = WAREHOUSE["Resources"]["LoaderSecret"]["Properties"]["GenerateSecretString"]
    text = generated["SecretStringTemplate"]["Fn::Sub"]
    for name, value in (("Address", "db.example.com"), ("Port", "5432")):
        text = text.replace(f"${{Warehouse.Endpoint.{name}}}", value)
    secret = json.loads(text) | {generated["GenerateStringKey"]: "p" * generated["PasswordLength"]}
    client = boto3.client("secretsmanager")
    arn = client.create_secret(Name="loader", SecretString=json.dumps(secret))["ARN"]

    login = read_login("warehouse", DatabaseSettings(arn), client)

    assert login.keywords["dbname"] == INSTANCE["Properties"]["DBName"]
    assert login.keywords["user"] != INSTANCE["Properties"]["MasterUsername"]
    assert login.keywords["sslmode"] == "verify-full"
    assert (login.host, login.keywords["port"]) == ("db.example.com", "5432")
