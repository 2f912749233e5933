"""Makes the checks, each within its time and whatever another one does."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace

import psycopg
from botocore.exceptions import BotoCoreError, ClientError

from doctor.finding import CannotLook, Check, Finding, Status
from doctor.place import Place
from doctor.remedies import LOG_IN, remedies
from pipeline.errors import PipelineError, first_line


def run_all(checks: Iterable[Check], place: Place) -> Iterator[tuple[Check, Finding]]:
    """Yields each check with what it found. No text has a password of the databases."""
    for check in checks:
        found = run_one(check, place)
        message = place.without_passwords(found.message)
        yield check, replace(found, message=message, fixes=tuple(map(place.copyable, found.fixes)))


def run_one(check: Check, place: Place) -> Finding:
    """Makes a check; a failure of the check itself, or of its time, is an unknown result."""
    found: list[Finding] = []
    thread = threading.Thread(target=lambda: found.append(_look(check, place)), daemon=True)
    thread.start()
    thread.join(check.seconds)
    if found:
        return found[0]
    return Finding(Status.UNKNOWN, f"there was no answer within {check.seconds:.0f} seconds")


def _look(check: Check, place: Place) -> Finding:
    try:
        return check.look(place)
    except CannotLook as error:
        return Finding(Status.UNKNOWN, str(error), error.fixes)
    except (PipelineError, psycopg.Error) as error:
        return Finding(Status.UNKNOWN, first_line(error))
    except (ClientError, BotoCoreError) as error:
        fixes = remedies(error)
        if LOG_IN in fixes:
            return Finding(Status.UNKNOWN, "the credentials are not valid: see stack.credentials")
        return Finding(Status.UNKNOWN, str(error), fixes)
    except Exception as error:  # a fault of one check stops no other
        return Finding(Status.UNKNOWN, f"the check failed: {type(error).__name__}: {error}")
