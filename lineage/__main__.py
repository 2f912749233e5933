"""The command `make trace`: `python -m lineage fact_payment 123`."""

import argparse
import dataclasses
import json
import sys
from datetime import datetime

from lineage.places import places
from lineage.text import lines
from lineage.trace import trace
from local.stack import NotUp
from pipeline.errors import PipelineError


def main() -> int:
    """Traces one row; returns the exit code: 1 if no part knows the row."""
    parser = argparse.ArgumentParser(prog="python -m lineage")
    parser.add_argument("table", help="a star table")
    parser.add_argument("key", help="the row's natural key")
    parser.add_argument("--env", default="", help="an environment of samconfig.toml")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    options = parser.parse_args()
    try:
        found = trace(options.table, options.key, places(options.env))
    except (NotUp, PipelineError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.json:
        document = dataclasses.asdict(found)
        sys.stdout.write(json.dumps(document, indent=1, default=_as_json) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines(found))
    return 0 if found.steps else 1


def _as_json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


if __name__ == "__main__":
    sys.exit(main())
