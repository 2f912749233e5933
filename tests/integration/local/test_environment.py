"""The commands work in a shell that is set to other clouds, databases and proxies."""

import os
import subprocess
import sys
from pathlib import Path

from local.deployment import ROOT
from local.stack import JARS

_OTHERS = {
    "AWS_PROFILE": "work",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    "AWS_RETRY_MODE": "often",
    "SERVICES": "s3",
    "AUTH": "1",
    "MINISTACK_ACCOUNT_ID": "1",
    "HTTP_PROXY": "http://127.0.0.1:1",
    "http_proxy": "http://127.0.0.1:1",
    "NO_PROXY": "example.com",
    "PGHOSTADDR": "127.0.0.2",
    "PGSERVICE": "work",
    "PGSSLMODE": "verify-full",
    "PGOPTIONS": "-c unknown=1",
    "PGCLIENTENCODING": "LATIN1",
}
_CODE = """
import sys
from pathlib import Path

import boto3, psycopg

from local.cloud.server import LocalCloud

cloud = LocalCloud(Path(sys.argv[1]), Path(sys.argv[2]))
cloud.start()
try:
    cloud.enter()
    boto3.client("s3").create_bucket(
        Bucket="lake", CreateBucketConfiguration={"LocationConstraint": "eu-west-2"}
    )
    boto3.client("lambda").list_functions()
    with psycopg.connect(sys.argv[3]) as connection:
        print(*connection.execute("show client_encoding").fetchone())
finally:
    cloud.stop()
"""


def test_the_local_cloud_and_its_databases_are_reached_whatever_a_shell_is_set_to(
    tmp_path: Path, source_dsn: str
) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\nignore_configured_endpoint_urls = true\n")
    done = subprocess.run(
        [sys.executable, "-c", _CODE, tmp_path / "cloud", JARS, source_dsn],
        cwd=ROOT,
        env=os.environ | _OTHERS | {"AWS_CONFIG_FILE": str(config)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout == "UTF8\n"
