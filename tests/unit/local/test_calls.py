"""A call in the local cloud is recorded as what AWS checks for it, as policies see it."""

import json

import pytest
from ministack.services import cloudformation

from local.cloud.calls import Call
from local.cloud.checks import Check, Request, checks_of_task
from local.cloud.recorder import Recorder

GLUE = "arn:aws:glue:eu-west-2:000000000000"
DELETED = b"<Delete><Object><Key>a b</Key></Object><Object><Key>c</Key></Object></Delete>"


def headers(service: str, **more: str) -> dict[str, str]:
    scope = f"Credential=Role/20260101/eu-west-2/{service}/aws4_request"
    return {"authorization": f"AWS4-HMAC-SHA256 {scope}", **more}


@pytest.mark.parametrize(
    ("method", "path", "parameters", "more", "body", "checked"),
    [
        ("HEAD", "/b/k%20y", {}, {}, b"", [("s3:GetObject", "b/k y")]),
        (
            "PUT",
            "/b/k",
            {"partNumber": ["1"], "uploadId": ["u"]},
            {},
            b"",
            [("s3:PutObject", "b/k")],
        ),
        ("DELETE", "/b/k", {"uploadId": ["u"]}, {}, b"", [("s3:AbortMultipartUpload", "b/k")]),
        (
            "PUT",
            "/b/k",
            {},
            {"x-amz-copy-source": "c/l"},
            b"",
            [("s3:PutObject", "b/k"), ("s3:GetObject", "c/l")],
        ),
        (
            "PUT",
            "/b/k",
            {},
            {"x-amz-tagging": "a=b"},
            b"",
            [("s3:PutObject", "b/k"), ("s3:PutObjectTagging", "b/k")],
        ),
        (
            "POST",
            "/b",
            {"delete": [""]},
            {},
            DELETED,
            [("s3:DeleteObject", "b/a b"), ("s3:DeleteObject", "b/c")],
        ),
    ],
)
def test_amazon_s3_checks_each_object_by_the_action_of_policies(
    method, path, parameters, more, body, checked
):
    request = Request(method, path, headers("s3", **more), body, parameters)

    assert list(request.checks()) == [
        Check(action, f"arn:aws:s3:::{resource}") for action, resource in checked
    ]


def test_a_listing_is_checked_with_its_prefix():
    request = Request("GET", "/b", headers("s3"), b"", {"list-type": ["2"], "prefix": ["runs/"]})

    assert list(request.checks()) == [
        Check("s3:ListBucket", "arn:aws:s3:::b", {"s3:prefix": "runs/"})
    ]


@pytest.mark.parametrize(
    ("method", "path", "status", "prefixes"),
    [
        ("GET", "/b/runs/1.json", 404, ["runs/1.json"]),
        ("HEAD", "/b/runs/1.json", 404, ["runs/1.json"]),
        ("GET", "/b/runs/1.json", 200, []),
        ("PUT", "/b/runs/1.json", 404, []),
        ("GET", "/b", 404, []),
    ],
)
def test_a_missing_object_needs_the_right_to_list(method, path, status, prefixes):
    request = Request(method, path, headers("s3"), b"", {})

    assert list(request.checks_of_answer(status)) == [
        Check("s3:ListBucket", "arn:aws:s3:::b", {"s3:prefix": prefix}) for prefix in prefixes
    ]


@pytest.mark.parametrize(
    ("action", "document", "resources"),
    [
        ("GetDatabase", {"Name": "d"}, ["catalog", "database/d"]),
        ("GetTable", {"DatabaseName": "d", "Name": "t"}, ["catalog", "database/d", "table/d/t"]),
        ("GetTables", {"DatabaseName": "d"}, ["catalog", "database/d", "table/d/*"]),
        (
            "UpdateTable",
            {"DatabaseName": "d", "TableInput": {"Name": "t"}},
            ["catalog", "database/d", "table/d/t"],
        ),
        (
            "BatchCreatePartition",
            {"DatabaseName": "d", "TableName": "t"},
            ["catalog", "database/d", "table/d/t"],
        ),
    ],
)
def test_aws_glue_checks_the_catalogue_the_database_and_the_table(action, document, resources):
    target = {"x-amz-target": f"AWSGlue.{action}"}
    request = Request("POST", "/", headers("glue", **target), json.dumps(document).encode(), {})

    assert list(request.checks()) == [Check(f"glue:{action}", f"{GLUE}:{one}") for one in resources]


@pytest.mark.parametrize(
    ("integration", "arguments", "checked"),
    [
        ("lambda:invoke", {"FunctionName": "arn:f:1"}, [("lambda:InvokeFunction", "arn:f:1")]),
        ("sns:publish", {"TopicArn": "arn:t"}, [("sns:Publish", "arn:t")]),
        (
            "dynamodb:updateItem",
            {"TableName": "t"},
            [("dynamodb:UpdateItem", "arn:aws:dynamodb:eu-west-2:000000000000:table/t")],
        ),
        (
            "glue:startJobRun.sync",
            {"JobName": "j"},
            [("glue:StartJobRun", f"{GLUE}:job/j"), ("glue:GetJobRun", f"{GLUE}:job/j")],
        ),
    ],
)
def test_a_task_of_a_state_machine_is_checked_as_the_call_that_it_makes(
    integration, arguments, checked
):
    found = checks_of_task(f"arn:aws:states:::{integration}", arguments)

    assert list(found) == [Check(*one) for one in checked]


def test_a_call_that_is_not_known_is_refused():
    with pytest.raises(NotImplementedError, match="s3: no action is known for /b/k"):
        list(Request("PATCH", "/b/k", headers("s3"), b"", {}).checks())
    with pytest.raises(NotImplementedError, match="s3:getObject are not known"):
        list(checks_of_task("arn:aws:states:::aws-sdk:s3:getObject", {}))


def test_a_call_has_the_names_of_the_template_in_place_of_physical_ones(monkeypatch, tmp_path):
    resources = {
        "LoadRole": ("AWS::IAM::Role", "totesys-LoadRole-X1"),
        "LakeBucket": ("AWS::S3::Bucket", "totesys-lakebucket-1a2b"),
        "LoadFunction": ("AWS::Lambda::Function", "totesys-load"),
    }
    stack = {
        "_resources": {
            name: {"ResourceType": kind, "PhysicalResourceId": physical}
            for name, (kind, physical) in resources.items()
        },
        "_resolved_params": {"WarehouseAdminSecretArn": {"Value": ""}},
    }
    monkeypatch.setattr(cloudformation, "_stacks", {"totesys": stack})
    recorder = Recorder(tmp_path / "calls.jsonl")
    key = "star/dim_date/metadata/00001-0f1e2d3c-0000-4000-8000-0123456789ab.avro"
    check = Check("s3:GetObject", f"arn:aws:s3:::totesys-lakebucket-1a2b/{key}")

    recorder.record("totesys-LoadRole-X1", [check, check])
    recorder.record("a person", [check])

    (line,) = (tmp_path / "calls.jsonl").read_text().splitlines()
    assert Call.from_line(line) == Call(
        "LoadRole",
        "s3:GetObject",
        "arn:${AWS::Partition}:s3:::${LakeBucket}/star/dim_date/metadata/0-0.avro",
    )
