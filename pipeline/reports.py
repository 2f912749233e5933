"""Reports: the full lists of what a stage did, as an object of the raw bucket.

An answer to the state machine is bounded and names its report. Reports expire by a lifecycle rule
of the bucket, as a run's progress does.
"""

import json
from typing import TYPE_CHECKING, Any

from pipeline.object_store import ObjectStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Reports:
    """The reports in the raw bucket. Their errors are ObjectStore's."""

    def __init__(self, bucket: str, client: "S3Client") -> None:
        self._objects = ObjectStore(bucket, client)

    def write(self, run_id: str, stage: str, report: dict[str, Any]) -> str:
        """Writes a stage's report on a run, and returns its key."""
        key = f"reports/{run_id}/{stage}.json"
        self._objects.put(key, json.dumps(report, indent=1).encode(), "application/json")
        return key

    def read(self, key: str) -> dict[str, Any]:
        """Returns a report."""
        report: dict[str, Any] = json.loads(self._objects.get(key))
        return report
