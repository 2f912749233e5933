"""What a deployment is told: by parameters and samconfig.toml, and by nothing in the code."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from pipeline.settings import (
    SSL_MODES,
    GlueCodeSettings,
    IngestSettings,
    LoadSettings,
    PublishSettings,
)
from tests.template import ROOT, TEMPLATE
from tests.unit.template.resources import (
    FUNCTION,
    STATE_MACHINE,
    as_list,
    of_type,
    role_statements,
)

PARAMETERS = TEMPLATE["Parameters"]
CONFIGURATION = tomllib.loads((ROOT / "samconfig.toml").read_text())
NETWORK = ("VpcSubnetIds", "VpcSecurityGroupIds")
SECRETS = {"SourceSecretArn", "WarehouseSecretArn"}
ADMINISTRATOR = "WarehouseAdminSecretArn"
DEPLOYED = ("template.yaml", "state_machine", "lambdas", "glue_jobs", "pipeline", "star_schema")
LOCAL_TRACES = re.compile(
    r"localhost|127\.0\.0\.1|\[::1\]|http://|ministack|\bmoto\b|endpoint_url ?=|aws_endpoint_url"
    r"|(from|import) local\b",
    re.IGNORECASE,
)


SAMPLES = {
    "INGEST_MEMORY": "2048",
    "LOAD_MEMORY": "2048",
    "PUBLISH_MEMORY": "1024",
    "SOURCE_PORT": "5432",
    "WAREHOUSE_PORT": "5432",
    "READERS": "2",
    "SMALL_BUILD_ROWS": "0",
    "REREAD_LIMIT_BYTES": "0",
}
"""Values of the variables that are no text of any kind."""


class Asked(dict[str, str]):
    """Environment variables that know which of them were asked for."""

    def __init__(self, variables: dict[str, str]) -> None:
        super().__init__(variables)
        self.names: set[str] = set()

    def get(self, name, default=None):
        self.names.add(name)
        return super().get(name, default)


def deployed_files() -> list[Path]:
    """Returns every file that a deployment is made of."""
    found = [file for name in DEPLOYED for file in (ROOT / name, *(ROOT / name).rglob("*"))]
    return [file for file in found if file.is_file() and file.suffix != ".pyc"]


@pytest.mark.parametrize(
    ("machine", "prefix", "when"),
    [
        ("PipelineStateMachine", "", "rate(15 minutes)"),
        ("MaintenanceStateMachine", "Maintenance", "cron(10 2 * * ? *)"),
    ],
)
def test_a_state_machine_starts_by_itself_only_when_told_to(machine, prefix, when):
    schedule = of_type(STATE_MACHINE)[machine]["Events"]["Schedule"]["Properties"]
    assert schedule["State"] == {"Ref": f"{prefix}ScheduleState"}
    assert schedule["Schedule"] == {"Ref": f"{prefix}ScheduleExpression"}
    assert PARAMETERS[f"{prefix}ScheduleState"]["Default"] == "DISABLED"
    assert PARAMETERS[f"{prefix}ScheduleExpression"]["Default"] == when


@pytest.mark.parametrize("name", sorted(SECRETS | {ADMINISTRATOR}))
def test_a_secret_is_named_by_its_arn_in_any_partition(name):
    pattern = PARAMETERS[name]["AllowedPattern"]
    for partition, region in (("aws", "eu-west-2"), ("aws-us-gov", "us-gov-west-1")):
        assert re.fullmatch(
            pattern, f"arn:{partition}:secretsmanager:{region}:123456789012:secret:totesys-AbC123"
        )
    for other in ("totesys", "arn:aws:rds:eu-west-2:123456789012:db:totesys"):
        assert not re.fullmatch(pattern, other)
    assert bool(re.fullmatch(pattern, "")) is (name == ADMINISTRATOR)
    assert PARAMETERS[name]["ConstraintDescription"]


@pytest.mark.parametrize(
    ("name", "given", "missing"),
    [
        ("NetworkIsWhole", "VpcSubnetIds", "VpcSecurityGroupIds"),
        ("SecurityGroupsHaveSubnets", "VpcSecurityGroupIds", "VpcSubnetIds"),
    ],
)
def test_half_a_network_is_refused(name, given, missing):
    rule = TEMPLATE["Rules"][name]
    empty = {name: {"Fn::EachMemberEquals": [{"Ref": name}, ""]} for name in NETWORK}
    assert rule["RuleCondition"] == {"Fn::Not": [empty[given]]}
    assert rule["Assertions"][0]["Assert"] == {"Fn::Not": [empty[missing]]}


def test_no_arn_is_of_one_partition_alone():
    for path in ("template.yaml", "state_machine/pipeline.asl.json"):
        assert not re.findall(r"arn:aws:(?!\$)", (ROOT / path).read_text())


def test_secrets_are_named_by_parameters_without_a_default():
    assert {name for name in PARAMETERS if "Secret" in name} == SECRETS | {ADMINISTRATOR}
    assert not [name for name in SECRETS if "Default" in PARAMETERS[name]]
    assert {name for name, held in PARAMETERS.items() if "Default" not in held} == SECRETS


def test_a_secret_reaches_a_function_as_its_name_and_never_as_its_value():
    for function in of_type(FUNCTION).values():
        for name, value in function["Environment"]["Variables"].items():
            if re.search("SECRET|PASSWORD|USER|DSN", name):
                assert name.endswith("_SECRET_ARN")
                assert value["Ref"] in SECRETS | {ADMINISTRATOR}
    assert "{{resolve:" not in (ROOT / "template.yaml").read_text()


def test_each_secret_is_read_only_by_those_who_connect_with_it():
    readers = {
        (role, statement["Resource"]["Ref"])
        for role, held in role_statements().items()
        for statement in held
        if "secretsmanager:GetSecretValue" in as_list(statement["Action"])
    }
    assert readers == {
        ("IngestRole", "SourceSecretArn"),
        ("LoadRole", "WarehouseSecretArn"),
        ("LoadRole", ADMINISTRATOR),
        ("PublishRole", "WarehouseSecretArn"),
    }


@pytest.mark.parametrize(
    ("function", "condition"),
    [
        ("IngestFunction", "IngestHasVpc"),
        ("LoadFunction", "HasVpc"),
        ("PublishFunction", "HasVpc"),
    ],
)
def test_a_function_is_in_the_network_from_which_its_database_is_reached(function, condition):
    chosen, network, none = of_type(FUNCTION)[function]["VpcConfig"]["Fn::If"]
    assert (chosen, none) == (condition, {"Ref": "AWS::NoValue"})
    assert network == {
        "SubnetIds": {"Ref": "VpcSubnetIds"},
        "SecurityGroupIds": {"Ref": "VpcSecurityGroupIds"},
    }
    assert TEMPLATE["Conditions"]["IngestHasVpc"] == {
        "Fn::And": [{"Condition": "HasVpc"}, {"Fn::Equals": [{"Ref": "SourceInVpc"}, "true"]}]
    }
    assert PARAMETERS["SourceInVpc"]["Default"] == "true"


def test_databases_are_reached_over_tls_unless_a_deployment_says_otherwise():
    assert PARAMETERS["DatabaseSslMode"]["Default"] == "verify-full"
    assert set(PARAMETERS["DatabaseSslMode"]["AllowedValues"]) == set(SSL_MODES)


@pytest.mark.parametrize(
    ("function", "prefix"),
    [
        ("IngestFunction", "Source"),
        ("LoadFunction", "Warehouse"),
        ("PublishFunction", "Warehouse"),
    ],
)
def test_a_secret_that_lacks_an_address_is_completed_by_parameters(function, prefix):
    variables = of_type(FUNCTION)[function]["Environment"]["Variables"]
    for part, default in (("Host", ""), ("Port", 5432), ("Database", "")):
        assert variables[f"{prefix}_{part}".upper()] == {"Ref": f"{prefix}{part}"}
        assert PARAMETERS[f"{prefix}{part}"]["Default"] == default


def test_a_secret_under_a_customers_key_is_decrypted_by_its_readers_through_secrets_manager():
    decrypted = {
        (role, statement["Resource"]["Ref"])
        for role, held in role_statements().items()
        for statement in held
        if statement.get("Sid") == "DecryptSecret"
        and statement["Action"] == "kms:Decrypt"
        and statement["Condition"]
        == {
            "StringEquals": {
                "kms:ViaService": {"Fn::Sub": "secretsmanager.${AWS::Region}.${AWS::URLSuffix}"}
            }
        }
    }
    assert decrypted == {
        ("IngestRole", "SourceKmsKeyArn"),
        ("LoadRole", "WarehouseKmsKeyArn"),
        ("PublishRole", "WarehouseKmsKeyArn"),
    }
    for name in ("SourceKmsKeyArn", "WarehouseKmsKeyArn"):
        pattern = re.compile(PARAMETERS[name]["AllowedPattern"])
        assert pattern.search("")
        assert pattern.search("arn:aws:kms:eu-west-2:123456789012:key/1234abcd")
        assert not pattern.search("arn:aws:secretsmanager:eu-west-2:123456789012:secret:a")
        assert not pattern.search("alias/mine")


def test_the_template_sets_every_setting_that_a_function_reads():
    for name, settings in (
        ("IngestFunction", IngestSettings),
        ("LoadFunction", LoadSettings),
        ("PublishFunction", PublishSettings),
        ("GlueCodeFunction", GlueCodeSettings),
    ):
        variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
        variables = variables | of_type(FUNCTION)[name]["Environment"]["Variables"]
        asked = Asked({one: SAMPLES.get(one, "require") for one in variables})

        settings.read(asked)

        assert asked.names <= variables.keys()


@pytest.mark.parametrize("environment", ["local", "dev", "prod"])
def test_every_environment_says_how_it_is_built_and_deployed(environment):
    assert CONFIGURATION[environment]["build"]["parameters"]["build_in_source"] is True
    deploy = CONFIGURATION[environment]["deploy"]["parameters"]
    assert deploy["stack_name"].startswith("totesys")
    assert deploy["resolve_s3"] is True
    assert deploy["capabilities"] == "CAPABILITY_IAM"
    assert deploy["confirm_changeset"] is (environment != "local")


def test_environments_of_one_account_have_stacks_of_their_own():
    names = [CONFIGURATION[name]["deploy"]["parameters"]["stack_name"] for name in ("dev", "prod")]
    assert len(set(names)) == len(names)


def test_what_is_deployed_knows_nothing_of_the_local_cloud():
    files = deployed_files()
    assert len(files) > len(DEPLOYED)
    traces = {
        str(file.relative_to(ROOT)): found.group()
        for file in files
        if (found := LOCAL_TRACES.search(file.read_text(errors="replace")))
    }
    assert traces == {}


def deploy_command(folder: Path, *arguments: str, saved: str = "", target: str = "deploy") -> str:
    """Returns what `make deploy` would run last, with parameters that samconfig.toml has."""
    for name in ("Makefile", "make", "requirements", "local"):
        (folder / name).symlink_to(ROOT / name)
    text = (ROOT / "samconfig.toml").read_text()
    table = "[dev.deploy.parameters]\n"
    (folder / "samconfig.toml").write_text(text.replace(table, table + saved))
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", target, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip().splitlines()[-1]


def test_the_first_deployment_asks_for_the_parameters_and_keeps_them(tmp_path):
    asked = "$(.venv-sam/bin/python -m deployment.guided --config-env dev)"
    assert deploy_command(tmp_path).endswith(f"sam deploy --config-env dev {asked}")


def test_a_deployment_takes_the_parameters_that_are_kept(tmp_path):
    saved = 'parameter_overrides = "SourceSecretArn=\\"arn\\""\n'
    command = deploy_command(tmp_path, saved=saved)
    assert command.rstrip().endswith("sam deploy --config-env dev")
    (tmp_path / "other").mkdir()
    assert "guided" in deploy_command(tmp_path / "other", "ENV=prod", saved=saved)


def test_a_deployment_takes_parameters_from_the_command(tmp_path):
    command = deploy_command(tmp_path, "ENV=prod", "PARAMS=SourceSecretArn=a WarehouseSecretArn=b")
    assert command.endswith(
        "--config-env prod --parameter-overrides SourceSecretArn=a WarehouseSecretArn=b"
    )


def test_what_is_beside_the_pipeline_is_deployed_under_its_environments_name(tmp_path):
    network = deploy_command(tmp_path, "ENV=prod", target="network")
    assert network.rstrip().endswith(
        "--config-env prod --template-file network.template.yaml --stack-name totesys-prod-network"
    )
    (tmp_path / "other").mkdir()
    warehouse = deploy_command(tmp_path / "other", "PARAMS=MultiAz=true", target="warehouse")
    assert "--template-file warehouse.template.yaml --stack-name totesys-dev-warehouse" in warehouse
    assert warehouse.endswith(
        "$(.venv-sam/bin/python -m deployment.parameters --config-env dev) MultiAz=true"
    )


@pytest.mark.parametrize("target", ["deploy", "network", "warehouse", "parameters", "prune"])
@pytest.mark.parametrize("environment", ["local", "porduction"])
def test_an_environment_that_is_not_one_of_aws_is_refused_by_name(tmp_path, target, environment):
    with pytest.raises(subprocess.CalledProcessError) as refused:
        deploy_command(tmp_path, f"ENV={environment}", "PARAMS=A=b", "ADOPT=no", target=target)
    assert f"ENV={environment}: samconfig.toml has no such environment" in refused.value.stderr


def test_the_cost_of_a_run_is_estimated_by_the_functions_own_memory():
    variables = of_type(FUNCTION)["PublishFunction"]["Environment"]["Variables"]
    for stage in ("Ingest", "Load", "Publish"):
        memory = of_type(FUNCTION)[f"{stage}Function"]["MemorySize"]
        text = {"Fn::Sub": ["${memory}", {"memory": memory}]}
        assert variables[f"{stage.upper()}_MEMORY"] == text


@pytest.mark.parametrize("name", of_type(FUNCTION))
def test_a_variable_of_a_function_is_text_or_a_reference(name):
    # Lambda takes text alone: nothing but CloudFormation itself makes text of a number.
    variables = of_type(FUNCTION)[name]["Environment"]["Variables"]
    assert all(isinstance(value, str | dict) for value in variables.values())
