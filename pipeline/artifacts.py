"""What is kept of runs in the artifacts bucket: pages for 90 days, certificates for good."""

from typing import Final

PAGES: Final = "runs/"
CERTIFICATES: Final = "certificates/"


def page_key(run_id: str) -> str:
    """Returns the key of a run's page. The state machine's notification names the same."""
    return f"{PAGES}{run_id}.html"


def certificate_key(run_id: str) -> str:
    """Returns the key of a run's certificate."""
    return f"{CERTIFICATES}{run_id}.json"
