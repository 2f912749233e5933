"""Keeps the page of a run, and its certificate, in the artifacts bucket."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambdas.publish.observing import Observation
from lambdas.publish.page.facts import LAKE_PREFIX, Report, page_facts
from lambdas.publish.page.render import render
from pipeline.artifacts import certificate_key, page_key
from pipeline.object_store import ObjectStore
from pipeline.reports import Reports
from pipeline.requests import PublishRequest
from pipeline.settings import PublishSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Kept:
    """The addresses of a run's page, and of its certificate if it was verified."""

    page: str
    certificate: str = ""


def keep(
    request: PublishRequest, observed: Observation, settings: PublishSettings, client: "S3Client"
) -> Kept:
    """Writes the page of a run, and its certificate if it was verified; returns their addresses.

    Raises:
        ObjectStoreUnavailable: Amazon S3 did not answer.
    """
    artifacts = ObjectStore(settings.artifacts_bucket, client)
    reports = _reports(request, Reports(settings.raw_bucket, client))
    lake = ObjectStore(settings.lake_bucket, client).keys(LAKE_PREFIX)
    page = page_key(request.run_id)
    facts = page_facts(request, observed, reports, lake)
    artifacts.put(page, render(facts).encode(), "text/html; charset=utf-8")
    if not facts.certificate:
        return Kept(artifacts.address(page))
    key = certificate_key(request.run_id)
    artifacts.put(key, json.dumps(facts.certificate, indent=1).encode(), "application/json")
    return Kept(artifacts.address(page), artifacts.address(key))


def _reports(request: PublishRequest, reports: Reports) -> dict[str, Report]:
    """Returns the reports of the stages that have made one in this execution."""
    answers = {"ingest": request.ingested, "load": request.loaded}
    return {
        stage: reports.read(answer.report)
        for stage, answer in answers.items()
        if answer and answer.report
    }
