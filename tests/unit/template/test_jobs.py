"""The Glue jobs and the functions: everything that would otherwise be AWS's default is stated."""

import re

import pytest

from local.cloud.spark_settings import settings_of
from tests.template import ROOT, TEMPLATE, plain
from tests.unit.state_machine.definition import tasks
from tests.unit.template.resources import FUNCTION, JOB, STATE_MACHINE, of_type

JOBS = of_type(JOB)
PARAMETERS = TEMPLATE["Parameters"]


@pytest.mark.parametrize("name", JOBS)
def test_a_job_states_its_version_workers_and_limits(name):
    job = JOBS[name]
    assert job["GlueVersion"] == {"Ref": "GlueVersion"}
    assert job["WorkerType"] == {"Ref": "WorkerType"}
    assert job["NumberOfWorkers"] == {"Ref": "NumberOfWorkers"}
    assert job["ExecutionProperty"] == {"MaxConcurrentRuns": 1}
    assert job["MaxRetries"] == 0
    assert PARAMETERS["GlueVersion"]["Default"] in PARAMETERS["GlueVersion"]["AllowedValues"]


@pytest.mark.parametrize("name", JOBS)
def test_a_job_ends_no_later_than_the_state_that_waits_for_it(name):
    (state,) = (
        state for state in tasks().values() if state["Arguments"].get("JobName") == f"${{{name}}}"
    )
    assert 0 < 60 * JOBS[name]["Timeout"] <= state["TimeoutSeconds"]


@pytest.mark.parametrize("name", JOBS)
def test_a_job_runs_a_script_of_the_repository_on_spark_with_iceberg(name):
    command, arguments = JOBS[name]["Command"], JOBS[name]["DefaultArguments"]
    assert command["Name"] == "glueetl"
    folder, script = command["ScriptLocation"]["Fn::Sub"].rsplit("/", 1)
    assert folder == "s3://${ArtifactsBucket}/${GlueCode.Folder}"
    assert (ROOT / "glue_jobs" / script).is_file()
    assert arguments["--datalake-formats"] == "iceberg"


@pytest.mark.parametrize("name", JOBS)
def test_a_job_sizes_its_shuffles_to_the_data(name):
    settings = settings_of(plain(JOBS[name]["DefaultArguments"]["--conf"]))
    adaptive = "spark.sql.adaptive"
    assert settings[f"{adaptive}.enabled"] == "true"
    assert settings[f"{adaptive}.coalescePartitions.enabled"] == "true"
    # Otherwise Spark makes as many partitions as there are cores, however little is in them.
    assert settings[f"{adaptive}.coalescePartitions.parallelismFirst"] == "false"
    assert "spark.sql.shuffle.partitions" not in settings


@pytest.mark.parametrize("name", JOBS)
def test_a_job_sorts_and_keeps_rows_in_pieces_that_a_small_heap_has_room_for(name):
    settings = settings_of(plain(JOBS[name]["DefaultArguments"]["--conf"]))
    # 32 bytes of addresses for each row that a sort has in memory; by default without a limit.
    assert settings["spark.shuffle.spill.numElementsForceSpillThreshold"] == "1000000"
    # By default up to 64 MiB.
    assert settings["spark.buffer.pageSize"] == "4m"


@pytest.mark.parametrize("name", JOBS)
def test_a_broadcast_may_wait_for_the_tasks_of_other_tables(name):
    settings = settings_of(plain(JOBS[name]["DefaultArguments"]["--conf"]))
    # By default it fails after 300 s, and the time that its tasks wait for a core counts.
    assert settings["spark.sql.broadcastTimeout"] == "-1"


@pytest.mark.parametrize("name", JOBS)
def test_a_job_gets_the_code_that_the_deployment_has_uploaded(name):
    uploaded = JOBS[name]["DefaultArguments"]["--extra-py-files"]
    assert uploaded == {"Fn::Sub": "s3://${ArtifactsBucket}/${GlueCode.Key}"}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_installs_nothing_when_it_starts(name):
    # AWS Glue Developer Guide, "Installing additional Python modules": pip runs at each start.
    assert not [one for one in JOBS[name]["DefaultArguments"] if "python-modules" in one]


@pytest.mark.parametrize("name", JOBS)
def test_a_run_brings_the_script_and_the_code_of_its_definition(name):
    (machine, state) = next(
        (machine, state)
        for (machine, _), state in tasks().items()
        if state["Arguments"].get("JobName") == f"${{{name}}}"
    )
    (made,) = (
        properties["DefinitionSubstitutions"]
        for properties in of_type(STATE_MACHINE).values()
        if properties["DefinitionUri"].endswith(f"/{machine}.asl.json")
    )
    arguments = state["Arguments"]["Arguments"]
    script = arguments["--scriptLocation"].removeprefix("${").removesuffix("}")
    assert made[script] == JOBS[name]["Command"]["ScriptLocation"]
    assert "'${JobCode}'" in arguments["--extra-py-files"]
    assert made["JobCode"] == JOBS[name]["DefaultArguments"]["--extra-py-files"]


def test_the_versions_of_glue_are_those_that_bring_spark_4():
    # AWS Glue Developer Guide, "AWS Glue versions": 5.1 has Spark 3.5.
    assert PARAMETERS["GlueVersion"]["AllowedValues"] == ["6.0"]


def test_maintenance_is_told_what_to_keep_and_never_less_than_a_reader_needs():
    arguments = JOBS["MaintainTablesJob"]["DefaultArguments"]
    kept = {"--snapshot_days": "SnapshotDays", "--snapshots_kept": "SnapshotsKept"}
    for argument, parameter in (kept | {"--orphan_days": "OrphanDays"}).items():
        assert arguments[argument] == {"Ref": parameter}
        assert PARAMETERS[parameter]["Default"] >= PARAMETERS[parameter]["MinValue"]
    assert PARAMETERS["SnapshotDays"]["MinValue"] >= 1
    # Iceberg refuses less than 24 hours (Iceberg documentation, "remove_orphan_files").
    assert PARAMETERS["OrphanDays"]["MinValue"] > 1


@pytest.mark.parametrize("name", of_type(FUNCTION))
def test_a_function_ends_before_the_state_that_waits_for_it_gives_up(name):
    function = TEMPLATE["Globals"]["Function"] | of_type(FUNCTION)[name]
    invoking = [
        state
        for state in tasks().values()
        if state["Arguments"].get("FunctionName") == f"${{{name}}}"
    ]
    assert 0 < function["Timeout"] <= 900
    assert all(function["Timeout"] < state["TimeoutSeconds"] for state in invoking)


def test_packages_are_built_for_the_runtime_that_runs_them():
    build = (ROOT / "make" / "lambda.mk").read_text()
    function = TEMPLATE["Globals"]["Function"]
    assert function["Architectures"] == ["arm64"]
    assert re.search(r"^LAMBDA_PLATFORM \?= \w+_aarch64 \w+_aarch64$", build, re.MULTILINE)
    (python,) = re.findall(r"^LAMBDA_PYTHON \?= (.+)$", build, re.MULTILINE)
    assert function["Runtime"] == f"python{python}"


def test_new_job_code_is_uploaded_at_every_deployment_that_changes_it():
    function = of_type(FUNCTION)["GlueCodeFunction"]
    uploaded = of_type("AWS::CloudFormation::CustomResource")["GlueCode"]
    assert TEMPLATE["Globals"]["Function"]["AutoPublishAlias"]
    assert function["AutoPublishAliasAllProperties"] is True
    assert uploaded["ServiceToken"] == {"Fn::GetAtt": ["GlueCodeFunction", "Arn"]}
    assert uploaded["CodeVersion"] == {"Ref": "GlueCodeFunction.Version"}


INVOKED = {"Ingest": "IngestFunction", "Load": "LoadFunction", "Publish": "PublishFunction"}


@pytest.mark.parametrize("name", INVOKED)
def test_an_execution_invokes_the_version_that_its_definition_was_deployed_with(name):
    function = INVOKED[name]
    machine = of_type(STATE_MACHINE)["PipelineStateMachine"]
    made = machine["DefinitionSubstitutions"]
    assert made[function] == {"Fn::GetAtt": ["FunctionVersions", name]}
    versions = of_type("AWS::CloudFormation::CustomResource")["FunctionVersions"]
    assert versions["Functions"][name] == {"Ref": function}
    assert {"Ref": f"{function}.Version"} in versions["Versions"]
    assert of_type(FUNCTION)[function]["AutoPublishAliasAllProperties"] is True


def test_a_version_is_published_when_a_parameter_of_a_function_changes():
    # AWS SAM does not see a parameter's value: it hashes the reference.
    referred: set[str] = set()
    for function in INVOKED.values():
        referred |= _referred(of_type(FUNCTION)[function])
    databases = of_type("AWS::Glue::Database").values()
    referred |= {name for database in databases for name in _referred(database)}
    versions = of_type("AWS::CloudFormation::CustomResource")["FunctionVersions"]
    assert _referred(versions["Parameters"]) == referred & PARAMETERS.keys()


def _referred(value):
    """Returns the names that a value refers to by Ref or Fn::Sub, in its conditions too."""
    if isinstance(value, dict):
        found = {value["Ref"]} if "Ref" in value else set()
        for condition in (value.get("Condition"), *value.get("Fn::If", [])[:1]):
            if condition in TEMPLATE["Conditions"]:
                found |= _referred(TEMPLATE["Conditions"][condition])
        if isinstance(value.get("Fn::Sub"), str):
            found |= set(re.findall(r"\$\{(\w+)\}", value["Fn::Sub"]))
        return found.union(*(_referred(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(_referred(item) for item in value))
    return set()
