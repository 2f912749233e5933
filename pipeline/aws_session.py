"""The session of the AWS SDK from which a function makes its clients."""

import os
from pathlib import Path
from typing import Any

import boto3
from botocore.loaders import Loader, instance_cache
from botocore.session import Session

from pipeline.cold_start import uncollected


class _Loader(Loader):
    """Reads the description of a service without a look at all others.

    botocore's own looks into the folders of its 400 services, once for each kind of file, to name
    them in an error. That is a quarter of the time of a function's first client (boto/botocore,
    pull request 3687).
    """

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002
        """Returns the names of all services, with or without a file of that kind."""
        folders = [path for path in self.search_paths if Path(path).is_dir()]
        return [entry.name for path in folders for entry in os.scandir(path) if entry.is_dir()]

    @instance_cache
    def load_data_with_path(self, name: str) -> tuple[dict[str, Any], str]:
        """Reads a file once, without garbage collection: its content lasts as long as the process.

        The descriptions of Amazon S3 and AWS Glue are a hundred thousand objects.
        """
        with uncollected():
            return super().load_data_with_path(name)


def default_session() -> boto3.Session:
    """Returns the default session of boto3, which the first call makes."""
    if boto3.DEFAULT_SESSION is None:
        own = Session()
        own.register_component("data_loader", _Loader())
        boto3.DEFAULT_SESSION = boto3.Session(botocore_session=own)
    return boto3.DEFAULT_SESSION
