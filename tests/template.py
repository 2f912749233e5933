"""template.yaml as tests read it: CloudFormation's short forms become their long ones."""

from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parents[1]
TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())


def plain(value: Any) -> str:
    """Returns the text of a value that may be a `Fn::Sub`."""
    return str(value["Fn::Sub"]) if isinstance(value, dict) else str(value)
