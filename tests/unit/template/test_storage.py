"""Where data rests: encrypted, private, recoverable."""

import re

import pytest

from pipeline.artifacts import PAGES
from tests.template import TEMPLATE
from tests.unit.template.resources import BUCKET, RESOURCES, of_type

TABLE = "AWS::DynamoDB::Table"
DATABASE = "AWS::Glue::Database"


@pytest.mark.parametrize("name", of_type(BUCKET))
def test_a_bucket_is_encrypted_by_a_key_that_it_uses_sparingly(name):
    (rule,) = RESOURCES[name]["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert rule["BucketKeyEnabled"] is True


@pytest.mark.parametrize("name", of_type(BUCKET))
def test_a_bucket_keeps_old_versions(name):
    assert RESOURCES[name]["Properties"]["VersioningConfiguration"] == {"Status": "Enabled"}


@pytest.mark.parametrize("name", of_type(BUCKET))
def test_a_bucket_is_closed_to_the_public_and_has_no_access_lists(name):
    properties = RESOURCES[name]["Properties"]
    assert properties["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "BlockPublicPolicy": True,
        "IgnorePublicAcls": True,
        "RestrictPublicBuckets": True,
    }
    assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]


@pytest.mark.parametrize("name", of_type(BUCKET))
def test_a_bucket_refuses_whatever_does_not_come_over_tls(name):
    (policy,) = (
        properties["PolicyDocument"]["Statement"]
        for properties in of_type("AWS::S3::BucketPolicy").values()
        if properties["Bucket"] == {"Ref": name}
    )
    assert {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    } in policy


@pytest.mark.parametrize("name", of_type(BUCKET))
def test_a_bucket_forgets_old_versions_and_what_only_a_run_needs_and_nothing_else(name):
    rule, *others = RESOURCES[name]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert rule["Status"] == "Enabled"
    assert rule["NoncurrentVersionExpiration"]["NoncurrentDays"] >= 7
    assert rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] >= 1
    assert not [key for key in rule if key.startswith(("Expiration", "Transition"))]
    of_a_run = {
        "RawBucket": ["progress/", "fingerprints/", "reports/"],
        "ArtifactsBucket": [PAGES],
    }
    assert [other["Prefix"] for other in others] == of_a_run.get(name, [])


@pytest.mark.parametrize("name", of_type(TABLE))
def test_a_dynamodb_table_is_encrypted_and_can_be_restored_to_any_second(name):
    properties = RESOURCES[name]["Properties"]
    assert properties["SSESpecification"] == {"SSEEnabled": True}
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


@pytest.mark.parametrize("name", of_type(BUCKET) | of_type(TABLE) | of_type(DATABASE))
def test_what_holds_data_outlives_the_stack_but_not_a_creation_that_failed(name):
    assert RESOURCES[name]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"


@pytest.mark.parametrize("name", of_type(DATABASE))
def test_a_database_beside_one_that_was_retained_has_another_prefix(name):
    condition, given, derived = of_type(DATABASE)[name]["DatabaseInput"]["Name"]["Fn::If"]
    suffix = {"StarDatabase": "_star", "RawDatabase": "_raw"}[name]
    assert (condition, given) == ("HasPrefix", {"Fn::Sub": f"${{DatabasePrefix}}{suffix}"})
    assert {"Fn::Sub": f"${{AWS::StackName}}{suffix}"} in derived["Fn::Join"][1]["Fn::Split"]
    pattern = TEMPLATE["Parameters"]["DatabasePrefix"]["AllowedPattern"]
    assert re.fullmatch(pattern, "totesys_2")
    assert not [name for name in ("Totesys", "tote-sys", "2") if re.fullmatch(pattern, name)]


@pytest.mark.parametrize("name", of_type(BUCKET))
def test_a_bucket_forgets_the_markers_of_deleted_objects_without_versions(name):
    rule, *_ = RESOURCES[name]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert rule["ExpiredObjectDeleteMarker"] is True
