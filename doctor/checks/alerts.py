"""Alarms, who is told of them, what could not be delivered, and the logs."""

from doctor.finding import Check, Finding, fault, judged, not_applicable, ok
from doctor.place import Place

_SEEN_TO_BY = {
    "FailedExecutionsAlarm": "runs.last_execution",
    "TimedOutExecutionsAlarm": "runs.last_execution",
    "FailedMaintenanceAlarm": "runs.maintenance",
    "TimedOutMaintenanceAlarm": "runs.maintenance",
    "QuarantineAlarm": "lake.quarantine",
    "TablesNotTakenAlarm": "storage.not_taken",
    "UndeliveredEventsAlarm": "alerts.undelivered",
    "UndeliveredNotificationsAlarm": "alerts.subscribers",
    "HeldLockAlarm": "runs.lock",
    "NoSuccessAlarm": "runs.last_success",
}
"""The check that has the statement or command for each alarm's cause."""


def _alarms(place: Place) -> Finding:
    names = place.resources_of("AWS::CloudWatch::Alarm")
    topic = place.output("NotificationTopicArn")
    is_scheduled = place.parameters.get("ScheduleState") == "ENABLED"
    found = {
        alarm["AlarmName"]: alarm
        for page in place.client("cloudwatch")
        .get_paginator("describe_alarms")
        .paginate(AlarmNames=list(names))
        for alarm in page["MetricAlarms"]
    }
    problems: dict[str, str] = {}
    for name, logical in names.items():
        alarm = found.get(name)
        if alarm is None:
            problems[f"the alarm {name} is gone"] = place.deploy
            continue
        if alarm["StateValue"] == "ALARM":
            problems[f"{logical} is in ALARM: {alarm.get('StateReason', '')}"] = (
                f"aws cloudwatch describe-alarm-history --alarm-name {name} "
                f"--history-item-type StateUpdate   # {_SEEN_TO_BY.get(logical, 'its cause')}"
            )
        is_on = alarm["ActionsEnabled"] or (logical == "NoSuccessAlarm" and not is_scheduled)
        if not is_on:
            problems[f"{logical} tells nobody: its actions are switched off"] = (
                f"aws cloudwatch enable-alarm-actions --alarm-names {name}"
            )
        if topic not in alarm["AlarmActions"]:
            problems[f"{logical} does not notify {topic}"] = place.deploy
    return judged(problems, f"{len(names)} alarms, none in ALARM")


def _subscribers(place: Place) -> Finding:
    topic = place.output("NotificationTopicArn")
    pages = place.client("sns").get_paginator("list_subscriptions_by_topic")
    found = [one for page in pages.paginate(TopicArn=topic) for one in page["Subscriptions"]]
    problems: dict[str, str] = {
        f"{one['Endpoint']} has not confirmed its subscription": _subscribe(topic, one["Endpoint"])
        for one in found
        if not one["SubscriptionArn"].startswith("arn:")
    }
    address = place.parameters.get("NotificationEmail", "")
    if address and address not in {one["Endpoint"] for one in found}:
        problems[f"{address} is not subscribed"] = _subscribe(topic, address)
    if not found and not address:
        if place.parameters.get("ScheduleState") != "ENABLED":
            return not_applicable("nobody is to be told, and nothing starts by itself")
        problems["the pipeline starts by itself, and nobody is told when it fails"] = (
            place.deploy_with("NotificationEmail=…")
        )
    return judged(problems, f"{len(found)} subscriptions are confirmed")


def _subscribe(topic: str, address: str) -> str:
    return (
        f"aws sns subscribe --topic-arn {topic} --protocol email "
        f"--notification-endpoint {address}   # then follow the link of the e-mail"
    )


def _undelivered(place: Place) -> Finding:
    queue = place.resource("UndeliveredEvents")
    attributes = place.client("sqs").get_queue_attributes(
        QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages"]
    )["Attributes"]
    number = int(attributes["ApproximateNumberOfMessages"])
    if number:
        return fault(
            f"{number} scheduled starts or notices could not be delivered",
            f"aws sqs receive-message --queue-url {queue} --message-attribute-names All   # why",
            f"aws sqs purge-queue --queue-url {queue}   # when that is mended",
        )
    return ok("every event was delivered")


def _logs(place: Place) -> Finding:
    client = place.client("logs")
    problems: dict[str, str] = {}
    groups = place.resources_of("AWS::Logs::LogGroup")
    for name in groups:
        found = client.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        if name not in {one["logGroupName"] for one in found}:
            problems[f"the log group {name} is gone"] = (
                f"aws logs create-log-group --log-group-name {name}"
            )
    return judged(problems, f"{len(groups)} log groups")


CHECKS = (
    Check("alerts.alarms", "the alarms: in ALARM, without actions, or gone", _alarms),
    Check("alerts.subscribers", "the topic's subscriptions", _subscribers),
    Check("alerts.undelivered", "the queue of events that could not be delivered", _undelivered),
    Check("alerts.logs", "the log groups", _logs),
)
