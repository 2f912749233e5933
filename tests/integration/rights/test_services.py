"""What AWS's services may do with the stack's topic, key, queue, buckets and roles.

Each case names the documentation of what the service sends.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from tests.rights.deployed import ACCOUNT, REGION, DeployedTemplate
from tests.rights.evaluator import ALLOWED, Request, decisions

OTHER_ACCOUNT = "111111111111"
TLS = {"aws:SecureTransport": "true"}
NO_TLS = {"aws:SecureTransport": "false"}
OURS = {"aws:SourceAccount": ACCOUNT}
THEIRS = {"aws:SourceAccount": OTHER_ACCOUNT}
OUR_RULE, THEIR_RULE = (
    {"aws:SourceArn": f"arn:aws:events:{REGION}:{account}:rule/totesys-stoppedexecutionrule"}
    for account in (ACCOUNT, OTHER_ACCOUNT)
)


@dataclass(frozen=True)
class Case:
    """A request of a service, with the decision and the documentation."""

    service: str
    action: str
    resource: str
    is_allowed: bool
    source: str
    context: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.service}-{self.action}-{'may' if self.is_allowed else 'may-not'}"


TOPIC_OF_EVENTS = (
    'EventBridge User Guide, "Using resource-based policies": no condition is supported'
)
KEY_OF_EVENTS = (
    'SNS Developer Guide, "Enable compatibility between event sources from AWS services and '
    'encrypted topics"'
)
ALARMS = 'CloudWatch User Guide, "Notifying users on alarm changes"'
DEAD_LETTERS = 'EventBridge User Guide, "Using dead-letter queues to process undelivered events"'
TRUST = 'IAM User Guide, "The confused deputy problem", cross-service prevention'

CASES = [
    Case("events", "sns:Publish", "NotificationTopic", True, TOPIC_OF_EVENTS),
    Case("events", "kms:GenerateDataKey", "NotificationKey", True, KEY_OF_EVENTS),
    Case("events", "kms:Decrypt", "NotificationKey", True, KEY_OF_EVENTS),
    Case("cloudwatch", "sns:Publish", "NotificationTopic", True, ALARMS, OURS),
    Case("cloudwatch", "kms:GenerateDataKey", "NotificationKey", True, ALARMS, OURS),
    Case("cloudwatch", "kms:Decrypt", "NotificationKey", True, ALARMS, OURS),
    Case("cloudwatch", "sns:Publish", "NotificationTopic", False, ALARMS, THEIRS),
    Case("cloudwatch", "kms:GenerateDataKey", "NotificationKey", False, ALARMS, THEIRS),
    Case("s3", "sns:Publish", "NotificationTopic", False, "nothing of the stack needs it", OURS),
    Case("events", "sqs:SendMessage", "UndeliveredEvents", True, DEAD_LETTERS, OUR_RULE),
    Case("events", "sqs:SendMessage", "UndeliveredEvents", False, DEAD_LETTERS, THEIR_RULE),
]
ROLES = {
    "lambda": ("IngestRole", "LoadRole", "PublishRole", "GlueCodeRole"),
    "glue": ("BuildStarRole", "BuildDimensionsRole", "BuildFactsRole", "MaintainTablesRole"),
    "states": ("PipelineRole", "MaintenanceRole"),
}


SCHEDULES = ("PipelineStateMachineScheduleRole", "MaintenanceStateMachineScheduleRole")
BUCKETS = ("RawBucket", "LakeBucket", "ArtifactsBucket")
Decide = Callable[[list[Case]], list[str]]


@pytest.fixture
def decide(template: DeployedTemplate) -> Decide:
    """Decides requests of services to resources of the template."""

    def decide_all(cases: list[Case]) -> list[str]:
        return decisions(
            Request(
                principal=f"{case.service}.amazonaws.com",
                action=case.action,
                resource=template.arn_of(case.resource),
                context=TLS | case.context,
                resource_policy=template.resource_policies.get(case.resource)
                or template.trust[case.resource],
            )
            for case in cases
        )

    return decide_all


def assumed(service: str, role: str, is_allowed: bool, context: dict[str, str]) -> Case:
    return Case(service, "sts:AssumeRole", role, is_allowed, TRUST, context)


def wrong(cases: list[Case], made: list[str]) -> list[str]:
    pairs = zip(cases, made, strict=True)
    return [f"{case}: {one}" for case, one in pairs if (one == ALLOWED) is not case.is_allowed]


def test_a_service_may_do_what_its_documentation_says(decide):
    assert wrong(CASES, decide(CASES)) == []


def test_no_service_may_do_it_without_tls(decide):
    # AWS KMS takes no request without TLS.
    told = [case for case in CASES if case.is_allowed and not case.action.startswith("kms:")]
    without = [replace(case, context=NO_TLS | case.context) for case in told]

    assert set(decide(without)) == {"ExplicitlyDenied"}


def test_no_role_reads_a_bucket_without_tls(template):
    everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    reads = [
        Request(
            principal=f"arn:aws:sts::{ACCOUNT}:assumed-role/Any/session",
            action="s3:GetObject",
            resource=f"{template.arn_of(bucket)}/key",
            context=context,
            identity_policies=[{"Version": "2012-10-17", "Statement": [everything]}],
            resource_policy=template.resource_policies[bucket],
        )
        for context in (TLS, NO_TLS)
        for bucket in BUCKETS
    ]

    assert decisions(reads) == [ALLOWED] * 3 + ["ExplicitlyDenied"] * 3


def test_a_role_is_assumed_by_its_service_for_this_account_alone(decide):
    cases = [
        case
        for service, roles in ROLES.items()
        for role in roles
        for case in (
            assumed(service, role, True, OURS),
            assumed(service, role, False, THEIRS),
            assumed("ec2", role, False, OURS),
        )
    ]

    assert wrong(cases, decide(cases)) == []


def test_the_role_of_a_schedule_is_assumed_by_eventbridge_alone(decide):
    cases = [
        case
        for role in SCHEDULES
        for case in (assumed("events", role, True, {}), assumed("states", role, False, OURS))
    ]

    assert wrong(cases, decide(cases)) == []


def test_every_role_and_every_resource_policy_has_cases(template):
    roles = [role for roles in ROLES.values() for role in roles]

    assert {*roles, *SCHEDULES} == set(template.trust)
    assert {case.resource for case in CASES} | set(BUCKETS) == set(template.resource_policies)
