"""What the state machines' definitions name of a deployment: the jobs' code, functions' versions.

AWS SAM uploads a job's script but not what it imports. This custom resource carries both inside
its own package, puts them into the artifacts bucket under a hash of their content, and hands the
keys to the jobs and to the state machines. For a request that names functions it publishes their
versions: those of AWS SAM do not change with the stack's parameters (AWS CloudFormation User
Guide, "Custom resource request and response objects").
"""

import hashlib
import io
import json
import re
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import boto3

from pipeline.errors import InvalidSettings
from pipeline.object_store import ObjectStore
from pipeline.settings import GlueCodeSettings

_PACKAGES = ("glue_jobs", "pipeline", "star_schema")
_ANSWER_SECONDS = 10
_DATABASE = re.compile(r"[a-z0-9_]{1,255}")
_EPOCH = (1980, 1, 1, 0, 0, 0)


def handler(event: dict[str, Any], context: object) -> None:  # noqa: ARG001
    """Answers a CloudFormation request; Delete leaves all, which an execution may still use."""
    answer: dict[str, Any] = {
        "Status": "SUCCESS",
        "PhysicalResourceId": event.get("PhysicalResourceId", event["LogicalResourceId"]),
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    try:
        if event["RequestType"] != "Delete":
            properties = event.get("ResourceProperties", {})
            _refuse_names(properties.get("Databases", []))
            functions = properties.get("Functions")
            answer["Data"] = (
                _versions(functions) if functions else _publish(Path(__file__).parents[2])
            )
    except Exception as error:  # unanswered, CloudFormation would wait for ServiceTimeout
        answer |= {"Status": "FAILED", "Reason": f"{type(error).__name__}: {error}"[:1024]}
    request = urllib.request.Request(  # noqa: S310
        event["ResponseURL"], data=json.dumps(answer).encode(), method="PUT"
    )
    with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS):  # noqa: S310  # nosec B310
        pass


def _versions(functions: dict[str, str]) -> dict[str, str]:
    """Publishes functions that have changed, and returns the ARN of each one's newest version."""
    client = boto3.client("lambda")
    return {
        name: client.publish_version(FunctionName=function)["FunctionArn"]
        for name, function in functions.items()
    }


def _refuse_names(databases: list[str]) -> None:
    """Refuses names that Iceberg's Glue catalog does not take; they come from the stack's name."""
    if refused := [name for name in databases if not _DATABASE.fullmatch(name)]:
        raise InvalidSettings(
            f"{', '.join(refused)}: Iceberg takes lower-case letters, digits and underscores in a "
            "database's name; set the parameter DatabasePrefix"
        )


def _publish(root: Path) -> dict[str, str]:
    """Puts the zip and the scripts, and returns the zip's key and the scripts' folder."""
    content = zip_of(root)
    folder = f"glue/{hashlib.sha256(content).hexdigest()}"
    scripts = {script.name: script.read_bytes() for script in (root / "glue_jobs").glob("[!_]*.py")}
    store = ObjectStore(GlueCodeSettings.read().artifacts_bucket, boto3.client("s3"))
    store.put(f"{folder}.zip", content, "application/zip")
    for name, script in scripts.items():
        store.put(f"{folder}/{name}", script, "text/x-python")
    return {"Key": f"{folder}.zip", "Folder": folder}


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
