"""Puts the Glue jobs' packages into the artifacts bucket, under the hash of their content.

AWS SAM uploads a job's script but not what it imports. This custom resource carries the packages
inside its own and hands the zip's key to the jobs (AWS CloudFormation User Guide, "Custom
resource request and response objects").
"""

import hashlib
import io
import json
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import boto3

from pipeline.object_store import ObjectStore
from pipeline.settings import GlueCodeSettings

_PACKAGES = ("glue_jobs", "pipeline", "star_schema")
_ANSWER_SECONDS = 10
_EPOCH = (1980, 1, 1, 0, 0, 0)


def handler(event: dict[str, Any], context: object) -> None:  # noqa: ARG001
    """Answers a CloudFormation request; Delete leaves the zip, which older versions may use."""
    answer: dict[str, Any] = {
        "Status": "SUCCESS",
        "PhysicalResourceId": "glue-code",
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    try:
        if event["RequestType"] != "Delete":
            answer["Data"] = {"Key": _publish(Path(__file__).parents[2])}
    except Exception as error:  # unanswered, CloudFormation would wait for ServiceTimeout
        answer |= {"Status": "FAILED", "Reason": f"{type(error).__name__}: {error}"[:1024]}
    request = urllib.request.Request(  # noqa: S310
        event["ResponseURL"], data=json.dumps(answer).encode(), method="PUT"
    )
    with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS):  # noqa: S310  # nosec B310
        pass


def _publish(root: Path) -> str:
    content = zip_of(root)
    key = f"glue/{hashlib.sha256(content).hexdigest()}.zip"
    bucket = GlueCodeSettings.read().artifacts_bucket
    ObjectStore(bucket, boto3.client("s3")).put(key, content, "application/zip")
    return key


def zip_of(root: Path) -> bytes:
    """Returns a zip of the packages: the same bytes for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in _PACKAGES:
            for file in sorted((root / package).rglob("*")):
                if file.suffix in (".py", ".sql", ".toml", ".pem"):
                    entry = zipfile.ZipInfo(str(file.relative_to(root)), _EPOCH)
                    archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
