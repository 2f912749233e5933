"""The templates as tests read them: CloudFormation's short forms become their long ones."""

from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parents[1]


def read_template(name: str) -> dict[str, Any]:
    """Returns a template of the repository."""
    document: dict[str, Any] = yaml_parse((ROOT / name).read_text())
    return document


TEMPLATE = read_template("template.yaml")


def plain(value: Any) -> str:
    """Returns the text of a value that may be a `Fn::Sub`."""
    return str(value["Fn::Sub"]) if isinstance(value, dict) else str(value)
