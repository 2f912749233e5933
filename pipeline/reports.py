"""Reports: the full lists of what a stage did, as an object of the raw bucket.

An answer to the state machine is bounded and names its report. Reports expire by a lifecycle rule
of the bucket, as a run's progress does.
"""

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.errors import ObjectStoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PREFIX = "reports/"


class Reports:
    """The reports in the raw bucket."""

    def __init__(self, bucket: str, client: "S3Client") -> None:
        self._bucket = bucket
        self._client = client

    def write(self, run_id: str, stage: str, report: dict[str, Any]) -> str:
        """Writes a stage's report on a run, and returns its key.

        Raises:
            ObjectStoreUnavailable: Amazon S3 did not answer.
        """
        key = f"{PREFIX}{run_id}/{stage}.json"
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=json.dumps(report, indent=1).encode(),
                ContentType="application/json",
            )
        except (ClientError, BotoCoreError) as error:
            raise self._unavailable(key, error) from error
        return key

    def read(self, key: str) -> dict[str, Any]:
        """Returns a report.

        Raises:
            ObjectStoreUnavailable: Amazon S3 did not answer, or the report has expired.
        """
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            report: dict[str, Any] = json.loads(answer["Body"].read())
        except (ClientError, BotoCoreError) as error:
            raise self._unavailable(key, error) from error
        return report

    def _unavailable(self, key: str, error: Exception) -> ObjectStoreUnavailable:
        return ObjectStoreUnavailable(f"no access to s3://{self._bucket}/{key}: {error}")
