"""Checks templates by cfn-guard and the rules that AWS publishes for AWS Control Tower.

`python -m deployment.guard TEMPLATE…`, a part of `make check`. deployment/guard.toml has the
exceptions. cfn-guard and the rules come from AWS's own package: docs/dependencies.md.
"""

import json
import platform
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

from deployment.target import ROOT

_PACKAGE = "lib/python*/site-packages/cdklabs/cdk_validator_cfnguard/_jsii/*.tgz"
_SYSTEMS = {"Linux": "ubuntu", "Darwin": "macos"}
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_RULES = "package/rules/control-tower/cfn-guard"
_SOME_OBJECT = "s3://bucket/key"
_REGION = "eu-west-2"


class GuardFailed(Exception):
    """cfn-guard did not judge a template. The message has its output."""


def expanded(template: dict[str, Any]) -> Any:
    """Returns a template as CloudFormation gets it, with its parameters' defaults in place."""
    parameters = template.get("Parameters", {})
    if "Transform" in template:
        template["Globals"]["Function"]["CodeUri"] = _SOME_OBJECT
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::Serverless::StateMachine":
                resource["Properties"]["DefinitionUri"] = _SOME_OBJECT
        session = boto3.Session(region_name=_REGION)
        translator = Translator({}, Parser(), boto_session=session)
        template = translator.translate(template, {})
    defaults = {name: held["Default"] for name, held in parameters.items() if "Default" in held}
    return _resolved(template, defaults)


def _resolved(value: Any, defaults: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_resolved(one, defaults) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"Ref"} and value["Ref"] in defaults:
        default = defaults[value["Ref"]]
        return {"true": True, "false": False}.get(default, default)
    return {name: _resolved(one, defaults) for name, one in value.items()}


def broken_rules(template: Path, package: Path) -> dict[str, list[str]]:
    """Returns the rules that a template breaks, each with what breaks it.

    Args:
        template: The template.
        package: The folder with AWS's package.

    Raises:
        GuardFailed: cfn-guard failed, or no rule applies to the template.
    """
    document = json.dumps(expanded(yaml_parse(template.read_text("utf-8"))))
    system, machine = _SYSTEMS[platform.system()], _MACHINES[platform.machine().lower()]
    program = package / "package/bin" / system / machine / "cfn-guard"
    program.chmod(0o755)
    options = ["--structured", "--output-format", "json", "--show-summary", "none"]
    done = subprocess.run(  # noqa: S603
        [str(program), "validate", "--rules", str(package / _RULES), *options],
        input=document,
        capture_output=True,
        text=True,
        check=False,
    )
    (report,) = json.loads(done.stdout) if done.stdout else [{}]
    if not report.get("compliant") and not report.get("not_compliant"):
        raise GuardFailed(f"cfn-guard judged nothing of {template.name}: {done.stderr}")
    return {
        broken["Rule"]["name"]: _places(broken, tuple(json.loads(document)["Resources"]))
        for broken in report["not_compliant"]
    }


def _places(broken: Mapping[str, Any], resources: tuple[str, ...]) -> list[str]:
    text = json.dumps(broken)
    return [name for name in resources if f"/Resources/{name}/" in text]


def complaints(template: str, package: Path, exceptions: Mapping[str, str]) -> list[str]:
    """Returns a line for each rule that is broken without a reason, or excepted for nothing."""
    broken = broken_rules(ROOT / template, package)
    return [
        f"{template}: {rule}: {', '.join(places)}"
        for rule, places in broken.items()
        if rule not in exceptions
    ] + [
        f"{template}: {rule} is followed: remove its exception from deployment/guard.toml"
        for rule in exceptions.keys() - broken.keys()
    ]


def main(templates: list[str]) -> int:
    """Checks templates, and returns the exit code."""
    exceptions = tomllib.loads((ROOT / "deployment" / "guard.toml").read_text("utf-8"))
    (archive,) = (ROOT / ".venv-guard").glob(_PACKAGE)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
        found = [
            line
            for template in templates
            for line in complaints(template, Path(folder), exceptions.get(template, {}))
        ]
    sys.stderr.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
