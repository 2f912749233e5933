"""What the stacks beside the pipeline's hand to it, and when sam asks."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError

from deployment import guided, parameters
from deployment.parameters import handed_over
from deployment.target import Target


@dataclass(frozen=True)
class Account(Target):
    """An account with stacks of some outputs."""

    stack: str = "totesys-dev"
    stacks: dict[str, dict[str, str]] = field(default_factory=dict)
    error: str = "ValidationError"

    def client(self, service: Any) -> Any:
        return self

    def describe_stacks(self, StackName: str) -> Any:  # noqa: N803
        if StackName not in self.stacks:
            raise ClientError({"Error": {"Code": self.error, "Message": self.error}}, "any")
        outputs = [
            {"OutputKey": name, "OutputValue": value}
            for name, value in self.stacks[StackName].items()
        ]
        return {"Stacks": [{"StackStatus": "CREATE_COMPLETE", "Outputs": outputs}]}


def test_outputs_become_parameters(monkeypatch, capsys):
    stacks = {
        "totesys-dev-network": {"VpcSubnetIds": "subnet-1,subnet-2"},
        "totesys-dev-warehouse": {"WarehouseSecretArn": "arn:secret"},
        "totesys-prod-network": {"VpcSubnetIds": "subnet-3"},
    }
    monkeypatch.setattr(parameters, "target", lambda _environment: Account(stacks=stacks))
    assert parameters.main(["--config-env", "dev"]) == 0
    assert (
        capsys.readouterr().out == "VpcSubnetIds=subnet-1,subnet-2 WarehouseSecretArn=arn:secret\n"
    )


def test_a_stack_that_is_not_there_hands_nothing_over():
    assert handed_over(Account()) == {}


@pytest.mark.parametrize("module", [parameters, guided])
def test_what_aws_refuses_is_said(module, monkeypatch, capsys):
    monkeypatch.setattr(module, "target", lambda _environment: Account(error="AccessDenied"))
    assert module.main(["--config-env", "dev"]) == 1
    assert "AccessDenied" in capsys.readouterr().err


@pytest.mark.parametrize(("stacks", "option"), [({}, "--guided\n"), ({"totesys-dev": {}}, "")])
def test_sam_asks_for_the_parameters_of_a_stack_that_does_not_exist(
    stacks, option, monkeypatch, capsys
):
    monkeypatch.setattr(guided, "target", lambda _environment: Account(stacks=stacks))
    assert guided.main(["--config-env", "dev"]) == 0
    assert capsys.readouterr().out == option
