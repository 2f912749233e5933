"""All checks, in the order in which they are made: what others depend on comes first."""

from typing import Final

from doctor.checks import (
    alerts,
    deployment,
    lake,
    machine,
    network,
    runs,
    source,
    storage,
    warehouse,
)
from doctor.finding import Check

CHECKS: Final[tuple[Check, ...]] = (
    *machine.CHECKS,
    *deployment.CHECKS,
    *network.CHECKS,
    *source.CHECKS,
    *warehouse.CHECKS,
    *storage.CHECKS,
    *lake.CHECKS,
    *runs.CHECKS,
    *alerts.CHECKS,
)
