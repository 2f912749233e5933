"""Renders the state machines: `python -m state_machine.render` writes *.asl.json from *.asl.yaml.

AWS Step Functions reads JSON, which has neither anchors nor comments. The YAML is what people
write; a test holds the committed JSON equal to it.
"""

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from pipeline import errors

FOLDER = Path(__file__).parent
SHARED = FOLDER / "shared.yaml"


def sources() -> list[Path]:
    """Returns the state machines' YAML files."""
    return sorted(FOLDER.glob("*.asl.yaml"))


def rendered(source: Path) -> str:
    """Returns the JSON text of a state machine."""
    machine: dict[str, Any] = yaml.safe_load(SHARED.read_text() + source.read_text())
    del machine["Shared"]
    return json.dumps(_with_error_names(machine), indent=2) + "\n"


def _with_error_names(value: Any) -> Any:
    """Puts the names of its subclasses in the place of a base class of pipeline/errors.py."""
    if isinstance(value, dict):
        return {
            key: [name for error in item for name in _names(error)]
            if key == "ErrorEquals"
            else _with_error_names(item)
            for key, item in value.items()
        }
    return [_with_error_names(item) for item in value] if isinstance(value, list) else value


def _names(error: str) -> list[str]:
    base = getattr(errors, error, None)
    if not inspect.isclass(base):
        return [error]
    return [subclass.__name__ for subclass in base.__subclasses__()] or [error]


def stale() -> list[str]:
    """Returns the names of the JSON files that are not what their YAML files render to."""
    return [
        source.with_suffix(".json").name
        for source in sources()
        if source.with_suffix(".json").read_text() != rendered(source)
    ]


def main() -> int:
    """Writes the JSON files; with --check, says which are stale and fails."""
    if "--check" not in sys.argv[1:]:
        for source in sources():
            source.with_suffix(".json").write_text(rendered(source))
    if found := stale():
        sys.stderr.write(f"{', '.join(found)}: not rendered from the YAML: run make render\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
