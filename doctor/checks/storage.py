"""The buckets and the raw zone's runs."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError
from samtranslator.yaml_helper import yaml_parse

from doctor.checks.warehouse import run_once, run_with
from doctor.finding import CannotLook, Check, Finding, fault, judged, not_applicable
from doctor.place import Place
from local.deployment import ROOT
from pipeline.aws_errors import code_of
from pipeline.errors import ManifestInvalid
from pipeline.manifest import (
    RUNS_PREFIX,
    Manifest,
    ManifestStore,
    key_of,
    sequence_of,
)
from pipeline.object_store import ObjectStore
from pipeline.written_files import Written, unlike_in_folder

BUCKETS = ("RawBucket", "LakeBucket", "ArtifactsBucket")
_CLOSED = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_FILES_SEEN = 50
_SHOWN = 5
_ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")
PIPELINE = "totesys"
"""The key of the lock's item: state_machine/shared.yaml."""


def _each_bucket(
    place: Place, look: Callable[[Any, str, str], str | None], missing: str, fix: str, all_well: str
) -> Finding:
    """Looks at each bucket.

    Args:
        place: The place.
        look: Returns what is wrong with a bucket, given the client, its name and its logical name.
        missing: The error code that says that a bucket has none of what is looked for.
        fix: What mends it; `{bucket}` is the bucket.
        all_well: What is said if nothing is wrong.
    """
    client = place.client("s3")
    problems: dict[str, str] = {}
    for logical in BUCKETS:
        bucket = place.resource(logical)
        try:
            wrong = look(client, bucket, logical)
        except ClientError as error:
            if code_of(error) != missing:
                raise
            wrong = "there is none"
        if wrong:
            problems[f"{bucket}: {wrong}"] = fix.replace("{bucket}", bucket)
    return judged(problems, all_well)


def _there(place: Place) -> Finding:
    region = place.session.region_name
    # Amazon S3 takes no constraint for its first region.
    constraint = f"--create-bucket-configuration LocationConstraint={region} "
    return _each_bucket(
        place,
        lambda client, bucket, _: client.head_bucket(Bucket=bucket) and None,
        "404",
        f"aws s3api create-bucket --bucket {{bucket}} --region {region} "
        f"{'' if region == 'us-east-1' else constraint}&& {place.deploy}",
        "the three buckets are there",
    )


def _versioning(place: Place) -> Finding:
    def look(client: Any, bucket: str, _logical: str) -> str | None:
        status = client.get_bucket_versioning(Bucket=bucket).get("Status", "off")
        return None if status == "Enabled" else f"versioning is {status}"

    return _each_bucket(
        place,
        look,
        "",
        "aws s3api put-bucket-versioning --bucket {bucket} "
        "--versioning-configuration Status=Enabled",
        "objects that are overwritten or deleted can be restored",
    )


def _encryption(place: Place) -> Finding:
    if place.is_local:
        return not_applicable("the local cloud does not encrypt")

    def look(client: Any, bucket: str, _logical: str) -> str | None:
        rules = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
        kinds = [
            rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] for rule in rules["Rules"]
        ]
        return None if kinds == ["aws:kms"] else f"encrypted by {', '.join(kinds)}"

    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"},
        "BucketKeyEnabled": True,
    }
    return _each_bucket(
        place,
        look,
        "ServerSideEncryptionConfigurationNotFoundError",
        "aws s3api put-bucket-encryption --bucket {bucket} "
        f"--server-side-encryption-configuration '{json.dumps({'Rules': [rule]})}'",
        "encrypted by AWS KMS",
    )


def _public_access(place: Place) -> Finding:
    def look(client: Any, bucket: str, _logical: str) -> str | None:
        found = client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        opened = [name for name in _CLOSED if not found.get(name)]
        return f"{', '.join(opened)} is off" if opened else None

    return _each_bucket(
        place,
        look,
        "NoSuchPublicAccessBlockConfiguration",
        "aws s3api put-public-access-block --bucket {bucket} --public-access-block-configuration "
        + ",".join(f"{name}=true" for name in _CLOSED),
        "closed to the public",
    )


def _lifecycle(place: Place) -> Finding:
    if place.is_local:
        return not_applicable("the local cloud keeps no lifecycle rules")
    declared = yaml_parse((ROOT / "template.yaml").read_text())["Resources"]

    def rules(logical: str) -> set[str]:
        held = declared[logical]["Properties"]["LifecycleConfiguration"]["Rules"]
        return {rule["Id"] for rule in held}

    def look(client: Any, bucket: str, logical: str) -> str | None:
        found = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        active = {rule.get("ID") for rule in found if rule["Status"] == "Enabled"}
        missing = sorted(rules(logical) - active)
        return f"the lifecycle rules {', '.join(missing)} are gone" if missing else None

    return _each_bucket(
        place,
        look,
        "NoSuchLifecycleConfiguration",
        "aws s3api put-bucket-lifecycle-configuration --bucket {bucket} "
        "--lifecycle-configuration …   # as template.yaml has it",
        "old versions and progress expire",
    )


def _policy(place: Place) -> Finding:
    client, partition = place.client("s3"), place.output("StateMachineArn").split(":")[1]
    problems: dict[str, str] = {}
    for bucket in map(place.resource, BUCKETS):
        held = _statements(client, bucket)
        if any("aws:SecureTransport" in json.dumps(one) for one in held):
            continue
        arn = f"arn:{partition}:s3:::{bucket}"
        demand = {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [*held, demand]})
        problems[f"{bucket}: its policy does not demand TLS"] = (
            f"aws s3api put-bucket-policy --bucket {bucket} --policy '{policy}'"
        )
    return judged(problems, "calls without TLS are refused")


def _statements(client: Any, bucket: str) -> list[dict[str, Any]]:
    """Returns the statements of a bucket's policy, which a new policy replaces."""
    try:
        held = json.loads(client.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    except ClientError as error:
        if code_of(error) != "NoSuchBucketPolicy":
            raise
        return []
    return held if isinstance(held, list) else [held]


def newest_manifest(place: Place) -> Manifest:
    """Returns the newest committed run.

    Raises:
        CannotLook: There is none.
    """
    found = ManifestStore(place.resource("RawBucket"), place.client("s3")).newest()
    if found is None:
        raise CannotLook("no run was ever committed", run_once(place))
    return found


def restore(place: Place, bucket: str, key: str) -> str:
    """Returns the command that brings back an object: from its delete marker, or its versions."""
    found = place.client("s3").list_object_versions(Bucket=bucket, Prefix=key)
    for marker in found.get("DeleteMarkers", []):
        if marker["Key"] == key and marker["IsLatest"]:
            return (
                f"aws s3api delete-object --bucket {bucket} --key '{key}' "
                f"--version-id {marker['VersionId']}   # removes the delete marker"
            )
    older = [one["VersionId"] for one in found.get("Versions", []) if one["Key"] == key]
    if len(older) > 1:
        return (
            f"aws s3api copy-object --bucket {bucket} --key '{key}' "
            f"--copy-source '{bucket}/{key}?versionId={older[1]}'"
        )
    return f"aws s3api list-object-versions --bucket {bucket} --prefix '{key}'"


def missing_objects(place: Place, bucket: str, keys: Iterable[str]) -> Iterator[str]:
    """Yields the keys that a bucket does not have."""
    return (key for key in keys if _head(place, bucket, key) is None)


def _head(place: Place, bucket: str, key: str) -> Mapping[str, Any] | None:
    """Returns what S3 says of an object; None if there is none."""
    try:
        found: Mapping[str, Any] = place.client("s3").head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if code_of(error) not in ("404", "NoSuchKey"):
            raise
        return None
    return found


def pipeline_item(place: Place) -> dict[str, str]:
    """Returns the fields of the item that holds the lock and the run that is loaded."""
    found = place.client("dynamodb").get_item(
        TableName=place.output("PipelineTable"), Key={"pipeline": {"S": PIPELINE}}
    )
    return {name: next(iter(value.values())) for name, value in found.get("Item", {}).items()}


def _runs(place: Place) -> Finding:
    bucket = place.resource("RawBucket")
    pages = place.client("s3").get_paginator("list_objects_v2")
    keys = {
        one["Key"]
        for page in pages.paginate(Bucket=bucket, Prefix=RUNS_PREFIX)
        for one in page.get("Contents", [])
    }
    held = filter(None, map(sequence_of, keys))
    runs = max(*held, 0, int(pipeline_item(place).get("loaded_through", 0)))
    if not runs:
        return fault("no run was ever committed", run_once(place))
    gone = [key for key in map(key_of, range(1, runs + 1)) if key not in keys]
    if gone:
        shown = ", ".join(gone[:_SHOWN])
        return fault(f"{len(gone)} manifests are missing: {shown}", restore(place, bucket, gone[0]))
    try:
        newest = newest_manifest(place)
    except ManifestInvalid as error:
        return fault(str(error), restore(place, bucket, key_of(runs)))
    tables = newest.tables.values()
    files = [
        one for table in tables for one in (table.written_files | table.written_key_files).items()
    ]
    problems: dict[str, str] = {}
    for key, written in files[:_FILES_SEEN]:
        if found := _wrong(place, bucket, key, written):
            what, fix = found
            problems[f"s3://{bucket}/{key} of run {newest.sequence} {what}"] = fix
    return judged(problems, f"{newest.sequence} runs; the newest one's files are there")


def _wrong(place: Place, bucket: str, key: str, written: Written) -> tuple[str, str] | None:
    """Returns what is wrong with a raw file, and what mends it."""
    found = _head(place, bucket, key)
    if found is None:
        return "is gone", restore(place, bucket, key)
    if found.get("StorageClass") in _ARCHIVES and "Restore" not in found:
        return (
            f"is in the archive {found['StorageClass']}, where no build can read it",
            f"aws s3api restore-object --bucket {bucket} --key '{key}' --restore-request Days=7"
            "   # and end the lifecycle rule",
        )
    differing = unlike_in_folder(ObjectStore(bucket, place.client("s3")), {key: written})
    return next(
        (
            (f"is not the file that Ingest wrote: it {difference}", restore(place, bucket, key))
            for difference in differing.values()
        ),
        None,
    )


def _not_taken(place: Place) -> Finding:
    newest = newest_manifest(place)
    problems = {
        f"run {newest.sequence} did not take {name}: {table.not_taken}": run_with(
            place, json.dumps({"full_refresh": [name]})
        )
        for name, table in newest.tables.items()
        if table.not_taken
    }
    return judged(problems, f"run {newest.sequence} took every table")


CHECKS = (
    Check("storage.buckets", "the three buckets", _there),
    Check("storage.versioning", "versioning of the buckets", _versioning),
    Check("storage.encryption", "encryption of the buckets by AWS KMS", _encryption),
    Check("storage.public_access", "the block of public access", _public_access),
    Check("storage.lifecycle", "the lifecycle rules", _lifecycle),
    Check("storage.policy", "the buckets' policies", _policy),
    Check(
        "storage.runs",
        "the manifests, and the files of the newest run, with their sizes and storage classes",
        _runs,
    ),
    Check("storage.not_taken", "tables that the newest run could not take", _not_taken),
)
