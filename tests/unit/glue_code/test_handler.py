"""The custom resource: its zip, and its answers to AWS CloudFormation."""

import hashlib
import io
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from lambdas.glue_code.handler import handler, zip_of

ROOT = Path(__file__).parents[3]


@dataclass
class CloudFormation:
    """Where answers are sent to: what it was sent."""

    url: str
    answers: list[dict[str, Any]] = field(default_factory=list)

    def request(self, kind: str) -> dict[str, Any]:
        return {
            "RequestType": kind,
            "ResponseURL": self.url,
            "StackId": "stack",
            "RequestId": "request",
            "LogicalResourceId": "GlueCode",
        }


@pytest.fixture
def cloudformation() -> Iterator[CloudFormation]:
    class Receiver(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.answers.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        received = CloudFormation(f"http://127.0.0.1:{server.server_port}/answer")
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield received
        server.shutdown()
        thread.join()


@pytest.fixture
def artifacts(moto_aws: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The artifacts bucket."""
    bucket = boto3.resource("s3").create_bucket(
        Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": "eu-west-2"}
    )
    monkeypatch.setenv("ARTIFACTS_BUCKET", "artifacts")
    return bucket


def make_packages(root: Path) -> Path:
    """Makes what a deployed function carries, and what running it leaves behind."""
    for name in (
        "glue_jobs/__init__.py",
        "star_schema/definitions/tables/dim_date.sql",
        "star_schema/definitions/tables/fact_payment.toml",
        "glue_jobs/__pycache__/__init__.cpython-313.pyc",
        "pipeline/errors.py",
        "lambdas/glue_code/handler.py",
    ):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return root


def test_the_zip_holds_code_declarations_of_all_packages_and_nothing_else(
    tmp_path: Path,
) -> None:
    archive = zipfile.ZipFile(io.BytesIO(zip_of(make_packages(tmp_path))))

    assert archive.namelist() == [
        "glue_jobs/__init__.py",
        "pipeline/errors.py",
        "star_schema/definitions/tables/dim_date.sql",
        "star_schema/definitions/tables/fact_payment.toml",
    ]
    assert archive.read("pipeline/errors.py") == b"pipeline/errors.py"


def test_the_same_files_give_the_same_zip_whenever_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one, other = make_packages(tmp_path / "one"), make_packages(tmp_path / "other")
    for file in other.rglob("*.py"):
        file.touch()

    assert zip_of(one) == zip_of(other)
    (other / "pipeline/errors.py").write_text("changed")
    assert zip_of(one) != zip_of(other)


def test_the_zip_of_this_project_lacks_no_file_of_the_packages() -> None:
    names = zipfile.ZipFile(io.BytesIO(zip_of(ROOT))).namelist()

    assert set(names) == {
        str(file.relative_to(ROOT))
        for package in ("glue_jobs", "pipeline", "star_schema")
        for file in (ROOT / package).rglob("*")
        if file.is_file() and file.parent.name != "__pycache__"
    }


def test_the_declarations_are_read_from_the_zip(tmp_path: Path) -> None:
    (tmp_path / "code.zip").write_bytes(zip_of(ROOT))
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'code.zip')!r}); "
        "from star_schema import sources, tables; "
        "print(len(tables.star_tables()), tables.__file__.count('code.zip'), "
        "sources.declared_source('payment').natural_key)"
    )

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )

    assert done.stdout == "11 1 payment_id\n", done.stderr


@pytest.mark.parametrize("kind", ["Create", "Update"])
def test_the_zip_and_the_scripts_are_put_under_a_hash_and_their_keys_are_handed_on(
    artifacts: Any, cloudformation: CloudFormation, kind: str
) -> None:
    content = zip_of(ROOT)
    folder = f"glue/{hashlib.sha256(content).hexdigest()}"

    handler(cloudformation.request(kind), object())

    assert cloudformation.answers == [
        {
            "Status": "SUCCESS",
            "PhysicalResourceId": "GlueCode",
            "StackId": "stack",
            "RequestId": "request",
            "LogicalResourceId": "GlueCode",
            "Data": {"Key": f"{folder}.zip", "Folder": folder},
        }
    ]
    scripts = sorted((ROOT / "glue_jobs").glob("[!_]*.py"))
    stored = {entry.key: entry.get()["Body"].read() for entry in artifacts.objects.all()}
    assert len(scripts) > 2
    assert stored == {
        f"{folder}.zip": content,
        **{f"{folder}/{script.name}": script.read_bytes() for script in scripts},
    }


def test_an_update_keeps_the_resource_that_was_created(
    artifacts: Any, cloudformation: CloudFormation
) -> None:
    handler({**cloudformation.request("Update"), "PhysicalResourceId": "glue-code"}, object())

    (answer,) = cloudformation.answers
    assert answer["PhysicalResourceId"] == "glue-code"


def test_the_newest_versions_of_functions_are_published_and_handed_on(
    moto_aws: None, cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[str] = []

    class Lambda:
        def publish_version(self, FunctionName: str) -> dict[str, str]:  # noqa: N803
            published.append(FunctionName)
            return {"FunctionArn": f"arn:{FunctionName}:7"}

    monkeypatch.setattr("boto3.client", lambda service: {"lambda": Lambda()}[service])
    functions = {"Ingest": "totesys-ingest", "Load": "totesys-load"}

    event = {**cloudformation.request("Update"), "ResourceProperties": {"Functions": functions}}
    handler(event, object())

    (answer,) = cloudformation.answers
    assert answer["Data"] == {"Ingest": "arn:totesys-ingest:7", "Load": "arn:totesys-load:7"}
    assert published == ["totesys-ingest", "totesys-load"]


@pytest.mark.parametrize("name", ["Totesys_star", "tote.sys_star"])
def test_a_stack_name_that_iceberg_would_refuse_is_refused_at_the_deployment(
    artifacts: Any, cloudformation: CloudFormation, name: str
) -> None:
    properties = {"Databases": [name, "totesys_raw"]}

    handler({**cloudformation.request("Create"), "ResourceProperties": properties}, object())

    (answer,) = cloudformation.answers
    assert answer["Status"] == "FAILED"
    assert answer["Reason"].startswith(f"InvalidSettings: {name}: ")


def test_a_delete_is_answered_and_leaves_the_code(
    artifacts: Any, cloudformation: CloudFormation
) -> None:
    handler(cloudformation.request("Create"), object())

    handler(cloudformation.request("Delete"), object())

    assert cloudformation.answers[1]["Status"] == "SUCCESS"
    assert "Data" not in cloudformation.answers[1]
    assert len(list(artifacts.objects.all())) > 1


def test_a_failure_is_answered_with_its_reason_so_that_the_stack_does_not_wait(
    artifacts: Any, cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARTIFACTS_BUCKET")

    handler(cloudformation.request("Create"), object())

    (answer,) = cloudformation.answers
    assert answer["Status"] == "FAILED"
    assert answer["Reason"].startswith("InvalidSettings: the environment variable ARTIFACTS_BUCKET")
    assert answer["RequestId"] == "request"


def test_a_reason_is_cut_to_what_cloudformation_reads(
    artifacts: Any, cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARTIFACTS_BUCKET", "no-such-bucket-" + "x" * 5000)

    handler(cloudformation.request("Create"), object())

    assert cloudformation.answers[0]["Status"] == "FAILED"
    assert len(cloudformation.answers[0]["Reason"]) == 1024
