"""What is deployed is known by its content, and secrets hold what connections need."""

import json
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from local import deployment
from local.deployment import code_digest, deploy, outputs, put_secret

PARAMETERS = {"SourceSecretArn": "arn:a", "WarehouseSecretArn": "arn:b"}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with something in all that a deployment is made of."""
    for name in ("template.yaml", "samconfig.toml"):
        (tmp_path / name).write_text(name)
    for name in ("state_machine", "lambdas", "glue_jobs", "pipeline", "make"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "file").write_text(name)
    monkeypatch.setattr(deployment, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "template.yaml",
        "samconfig.toml",
        "state_machine/inner/file",
        "lambdas/inner/file",
        "glue_jobs/inner/file",
        "pipeline/inner/file",
        "make/inner/file",
    ],
)
def test_whatever_is_deployed_changes_the_digest_and_back(repository, name):
    before = code_digest(PARAMETERS)
    text = (repository / name).read_text()

    (repository / name).write_text("another")
    assert code_digest(PARAMETERS) != before

    (repository / name).write_text(text)
    assert code_digest(PARAMETERS) == before


def test_a_file_s_name_is_part_of_the_digest(repository):
    before = code_digest(PARAMETERS)
    (repository / "lambdas/inner/file").rename(repository / "lambdas/inner/moved")
    assert code_digest(PARAMETERS) != before


def test_what_running_the_code_leaves_behind_does_not_change_the_digest(repository):
    before = code_digest(PARAMETERS)
    (repository / "lambdas" / "__pycache__").mkdir()
    (repository / "lambdas" / "__pycache__" / "a.pyc").write_bytes(b"compiled")
    (repository / "README.md").write_text("not deployed")
    assert code_digest(PARAMETERS) == before


def test_parameters_change_the_digest_whatever_their_order(repository):
    assert code_digest(PARAMETERS) == code_digest(dict(reversed(PARAMETERS.items())))
    assert code_digest(PARAMETERS) != code_digest({**PARAMETERS, "SourceSecretArn": "arn:c"})


@pytest.mark.usefixtures("moto_aws")
def test_a_secret_holds_a_database_s_address_by_the_names_that_rds_gives():
    put_secret("source", "postgresql://reader:o%27dd@127.0.0.1:5432/totesys")
    arn = put_secret("source", "postgresql://reader:new@127.0.0.1:5433/totesys")

    text = boto3.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
    assert json.loads(text) == {
        "host": "127.0.0.1",
        "port": "5433",
        "username": "reader",
        "password": "new",
        "dbname": "totesys",
    }


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        ({"StackStatus": "UPDATE_COMPLETE"}, {"RawBucket": "raw"}),
        ({"StackStatus": "UPDATE_IN_PROGRESS"}, {"RawBucket": "raw"}),
        ("ValidationError", None),
    ],
)
def test_only_a_stack_that_does_not_exist_has_gone(monkeypatch, answer, known):
    client = boto3.client("cloudformation", region_name="eu-west-2")
    with Stubber(client) as stubber:
        if isinstance(answer, str):
            stubber.add_client_error("describe_stacks", answer)
        else:
            output = [{"OutputKey": "RawBucket", "OutputValue": "raw"}]
            whole = {"StackName": "totesys", "CreationTime": 0, "Outputs": output, **answer}
            stubber.add_response("describe_stacks", {"Stacks": [whole]})
        stubber.add_client_error("describe_stacks", "Throttling")
        monkeypatch.setattr(boto3, "client", lambda _name: client)

        assert outputs() == known
        with pytest.raises(ClientError, match="Throttling"):
            outputs()


def test_what_sam_leaves_in_its_temporary_folder_is_removed(repository, monkeypatch):
    sam, left = repository / "sam", repository / "left"
    sam.write_text(f"#!/bin/sh\nmktemp -d >> '{left}'\n")
    sam.chmod(0o755)
    monkeypatch.setattr(deployment, "_SAM", sam)

    deploy(PARAMETERS, repository / "build")

    folders = [Path(line) for line in left.read_text().splitlines()]
    assert [folder.exists() for folder in folders] == [False, False]
