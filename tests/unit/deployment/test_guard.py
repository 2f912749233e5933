"""What AWS's rules judge: the template as CloudFormation gets it, with reasons for exceptions."""

import json
import platform
import sys
import tomllib
from pathlib import Path

import pytest

from deployment.guard import GuardFailed, broken_rules, complaints, expanded
from tests.template import ROOT, read_template

EXCEPTIONS = tomllib.loads((ROOT / "deployment" / "guard.toml").read_text())


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """AWS's package with a cfn-guard that answers what the file `answer` has."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    program = tmp_path / "package/bin/ubuntu/x86_64/cfn-guard"
    program.parent.mkdir(parents=True)
    answer = tmp_path / "answer"
    program.write_text(
        f"#!{sys.executable}\nimport json, pathlib, sys\njson.load(sys.stdin)\n"
        f"print(pathlib.Path({str(answer)!r}).read_text(), end='')\n"
    )
    return tmp_path


def answer(package: Path, **report: object) -> None:
    (package / "answer").write_text(json.dumps([report]))


def test_functions_and_state_machines_are_judged_as_cloudformation_gets_them():
    resources = expanded(read_template("template.yaml"))["Resources"]

    assert not [one for one in resources.values() if "::Serverless::" in one["Type"]]
    assert resources["IngestFunction"]["Type"] == "AWS::Lambda::Function"
    assert resources["IngestLogs"]["Properties"]["RetentionInDays"] == 90


def test_a_switch_that_is_a_parameter_is_judged_by_its_default():
    warehouse = expanded(read_template("warehouse.template.yaml"))["Resources"]["Warehouse"]

    assert warehouse["Properties"]["DeletionProtection"] is True
    assert warehouse["Properties"]["MultiAZ"] is False
    assert warehouse["Properties"]["DBSubnetGroupName"] == {"Ref": "Subnets"}


def test_a_broken_rule_is_named_with_its_resources_unless_it_has_a_reason(package):
    broken = {"Rule": {"name": "encrypted", "checks": ["/Resources/Warehouse/Properties/Engine"]}}
    answer(package, not_compliant=[broken], compliant=["private"])

    template = "warehouse.template.yaml"
    assert complaints(template, package, {}) == [f"{template}: encrypted: Warehouse"]
    assert complaints(template, package, {"encrypted": "why"}) == []


def test_an_exception_for_nothing_is_refused(package):
    answer(package, not_compliant=[], compliant=["private"])

    (line,) = complaints("network.template.yaml", package, {"encrypted": "why"})
    assert "encrypted is followed: remove its exception" in line


@pytest.mark.parametrize("text", ["", '[{"compliant": [], "not_compliant": []}]'])
def test_rules_that_judge_nothing_do_not_pass(package, text):
    (package / "answer").write_text(text)

    with pytest.raises(GuardFailed, match=r"judged nothing of network\.template\.yaml"):
        broken_rules(ROOT / "network.template.yaml", package)


def test_every_exception_has_a_reason_and_a_template():
    for template, rules in EXCEPTIONS.items():
        assert (ROOT / template).is_file()
        assert all(len(reason) > 20 for reason in rules.values())
