"""Looks at a stack and prints what has to be mended: `python -m doctor`.

The exit code is 0 if all is well, 1 if something has to be mended, and 2 if nothing has to, but a
check could not be made, or the command was used wrongly.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict

from doctor.finding import Check, Finding, Status
from doctor.place import LOCAL, Place, UnknownEnvironment
from doctor.registry import CHECKS
from doctor.running import run_all

_MARKS = {
    Status.OK: "ok",
    Status.FAULT: "FAULT",
    Status.UNKNOWN: "UNKNOWN",
    Status.NOT_APPLICABLE: "-",
}


def main() -> int:
    """Makes the checks and returns the exit code."""
    options = _parser().parse_args()
    chosen = [check for check in CHECKS if check.name.startswith(tuple(options.only.split(",")))]
    try:
        place = Place.of(options.env)
    except UnknownEnvironment as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if not chosen:
        sys.stderr.write(f"ONLY is {options.only!r}, and no check's name begins like that\n")
        return 2
    found = run_all(chosen, place)
    return _as_json(found, place) if options.json else _as_text(found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m doctor")
    parser.add_argument("--env", default=LOCAL, help="an environment of samconfig.toml")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.add_argument("--only", default="", help="beginnings of the checks' names, by commas")
    return parser


def _as_text(found: Iterable[tuple[Check, Finding]]) -> int:
    """Prints the findings as they come. A reason for not looking is printed once."""
    statuses: list[Status] = []
    reasons: set[str] = set()
    for check, finding in found:
        statuses.append(finding.status)
        if finding.status is Status.UNKNOWN and finding.message in reasons:
            continue
        reasons.add(finding.message)
        sys.stdout.write(f"{_MARKS[finding.status]:8} {check.name:26} {finding.message}\n")
        for fix in finding.fixes:
            sys.stdout.write(f"{'':35} → {fix}\n")
        sys.stdout.flush()
    counts = [f"{statuses.count(status)} {status}" for status in Status if status in statuses]
    sys.stdout.write(f"{len(statuses)} checks: {', '.join(counts)}\n")
    return exit_code(statuses)


def _as_json(found: Iterable[tuple[Check, Finding]], place: Place) -> int:
    findings = [{"check": check.name, **asdict(finding)} for check, finding in found]
    code = exit_code([finding["status"] for finding in findings])
    document = {"place": place.name, "stack": place.stack_name, "exit_code": code}
    sys.stdout.write(json.dumps({**document, "findings": findings}, indent=1) + "\n")
    return code


def exit_code(statuses: Iterable[Status]) -> int:
    """Returns the exit code of some results."""
    found = {*statuses}
    return 1 if Status.FAULT in found else 2 if Status.UNKNOWN in found else 0


if __name__ == "__main__":
    sys.exit(main())
