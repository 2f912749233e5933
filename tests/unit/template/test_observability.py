"""Logs that end, and failures that somebody is told of."""

import pytest

from deployment.guard import expanded
from tests.template import TEMPLATE, plain, read_template
from tests.unit.state_machine.definition import DEFINITIONS, STATES
from tests.unit.template.resources import FUNCTION, JOB, RESOURCES, STATE_MACHINE, of_type

LOG_GROUPS = of_type("AWS::Logs::LogGroup")
ALARMS = of_type("AWS::CloudWatch::Alarm")
TOPIC = {"Ref": "NotificationTopic"}


@pytest.mark.parametrize("name", LOG_GROUPS)
def test_a_log_group_keeps_its_lines_for_a_stated_time(name):
    kept = 7 if name == "PreviewLogs" else {"Ref": "LogRetentionDays"}
    assert LOG_GROUPS[name]["RetentionInDays"] == kept


def test_previews_are_logged_where_addresses_and_numbers_are_masked():
    audit, mask = LOG_GROUPS["PreviewLogs"]["DataProtectionPolicy"]["Statement"]
    assert audit["DataIdentifier"] == mask["DataIdentifier"]
    identifiers = {plain(one).rpartition("/")[2] for one in mask["DataIdentifier"]}
    assert identifiers >= {"EmailAddress", "PhoneNumber-GB", "PhoneNumber-US"}
    assert (audit["Operation"], mask["Operation"]) == (
        {"Audit": {"FindingsDestination": {}}},
        {"Deidentify": {"MaskConfig": {}}},
    )
    publish = of_type(FUNCTION)["PublishFunction"]
    assert publish["Environment"]["Variables"]["PREVIEW_LOG_GROUP"] == {"Ref": "PreviewLogs"}
    assert publish["LoggingConfig"]["LogGroup"] != {"Ref": "PreviewLogs"}


def test_every_function_has_a_log_group_of_its_own():
    used = [function["LoggingConfig"]["LogGroup"]["Ref"] for function in of_type(FUNCTION).values()]
    assert len(set(used)) == len(of_type(FUNCTION))
    assert set(used) <= set(LOG_GROUPS)


@pytest.mark.parametrize("name", of_type(JOB))
def test_a_job_s_output_and_errors_go_into_log_groups_of_the_stack(name):
    prefix = of_type(JOB)[name]["DefaultArguments"]["--custom-logGroup-prefix"]["Fn::Sub"]
    names = [group["LogGroupName"]["Fn::Sub"] for group in LOG_GROUPS.values()]
    assert {f"{prefix}/output", f"{prefix}/error"} <= set(names)


@pytest.mark.parametrize("name", of_type(STATE_MACHINE))
def test_a_state_machine_logs_everything_and_is_traced(name):
    machine = of_type(STATE_MACHINE)[name]
    (destination,) = machine["Logging"]["Destinations"]
    group, attribute = destination["CloudWatchLogsLogGroup"]["LogGroupArn"]["Fn::GetAtt"]
    assert (group in LOG_GROUPS, attribute) == (True, "Arn")
    assert machine["Logging"]["Level"] == "ALL"
    assert machine["Tracing"] == {"Enabled": True}


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_notifies(name):
    assert ALARMS[name]["AlarmActions"] == [TOPIC]


def test_an_execution_that_cannot_tell_of_its_own_end_is_told_of():
    (rule,) = of_type("AWS::Events::Rule").values()
    detail = rule["EventPattern"]["detail"]
    assert detail["stateMachineArn"] == [{"Ref": name} for name in of_type(STATE_MACHINE)]
    assert set(detail["status"]) == {"TIMED_OUT", "ABORTED"}
    assert [target["Arn"] for target in rule["Targets"]] == [TOPIC]


def test_quarantined_rows_alarm_by_the_metric_that_load_puts():
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    alarm = ALARMS["QuarantineAlarm"]
    assert alarm["Namespace"] == variables["POWERTOOLS_METRICS_NAMESPACE"]
    assert alarm["MetricName"] == "RowsQuarantined"
    assert alarm["Dimensions"] == [{"Name": "service", "Value": "load"}]
    assert "StackName" in alarm["Namespace"]["Fn::Sub"]


def test_missing_success_alarms_only_while_the_pipeline_is_scheduled():
    alarm = ALARMS["NoSuccessAlarm"]
    assert alarm["ActionsEnabled"] == {"Fn::If": ["IsScheduled", True, False]}
    assert alarm["TreatMissingData"] == "breaching"
    assert alarm["EvaluationPeriods"] == {"Ref": "HoursWithoutSuccess"}
    # CloudWatch evaluates seven days at the most (CloudWatch API Reference, "PutMetricAlarm").
    longest = TEMPLATE["Parameters"]["HoursWithoutSuccess"]["MaxValue"] * alarm["Period"]
    assert longest <= 7 * 24 * 3600


@pytest.mark.parametrize(
    ("alarm", "state"), [("NoSuccessAlarm", "Succeed"), ("HeldLockAlarm", "Skipped")]
)
def test_a_skipped_execution_is_no_success(alarm, state):
    counted = {
        transformation["MetricName"]: plain(properties["FilterPattern"])
        for properties in of_type("AWS::Logs::MetricFilter").values()
        for transformation in properties["MetricTransformations"]
    }
    pattern = counted[ALARMS[alarm]["MetricName"]]
    assert f'$.details.name = "{state}"' in pattern
    assert STATES[state]["Type"] == "Succeed"
    assert f'$.type = "{STATES[state]["Type"]}StateEntered"' in pattern


@pytest.mark.parametrize("minutes", [5, 59, 60, 61, 90, 119])
@pytest.mark.parametrize("begun", [0, 31, 59])
def test_a_lock_that_was_left_alarms_before_its_lease_ends(minutes, begun):
    alarm = ALARMS["HeldLockAlarm"]
    lease = DEFINITIONS["pipeline"]["TimeoutSeconds"]
    skipped = range((begun + minutes) * 60, begun * 60 + lease, minutes * 60)
    periods = {second // alarm["Period"] for second in skipped}

    evaluated = [
        periods & {last - before for before in range(alarm["EvaluationPeriods"])}
        for last in range(max(periods) + 1)
    ]

    assert alarm["Threshold"] == 1
    assert max(map(len, evaluated)) >= alarm["DatapointsToAlarm"]
    assert alarm["EvaluationPeriods"] * alarm["Period"] == lease


@pytest.mark.parametrize("machine", of_type(STATE_MACHINE))
@pytest.mark.parametrize("metric", ["ExecutionsFailed", "ExecutionsTimedOut"])
def test_every_way_of_a_state_machine_to_fail_alarms(machine, metric):
    dimensions = [{"Name": "StateMachineArn", "Value": {"Ref": machine}}]
    assert [
        name
        for name, alarm in ALARMS.items()
        if (alarm["MetricName"], alarm.get("Dimensions")) == (metric, dimensions)
    ]


def test_what_eventbridge_cannot_deliver_is_kept_and_alarms():
    queue = {"Fn::GetAtt": ["UndeliveredEvents", "Arn"]}
    (rule,) = of_type("AWS::Events::Rule").values()
    kept = [target["DeadLetterConfig"]["Arn"] for target in rule["Targets"]]
    kept += [
        machine["Events"]["Schedule"]["Properties"]["DeadLetterConfig"]["Arn"]
        for machine in of_type(STATE_MACHINE).values()
    ]
    assert kept == [queue] * 3
    (policy,) = of_type("AWS::SQS::QueuePolicy").values()
    allowed = policy["PolicyDocument"]["Statement"][0]
    assert allowed["Principal"] == {"Service": "events.amazonaws.com"}
    deployed = expanded(read_template("template.yaml"))["Resources"]
    rules = [name for name, one in deployed.items() if one["Type"] == "AWS::Events::Rule"]
    sources = allowed["Condition"]["ArnEquals"]["aws:SourceArn"]
    assert sorted(one["Fn::GetAtt"][0] for one in sources) == sorted(rules)
    alarm = ALARMS["UndeliveredEventsAlarm"]
    assert alarm["Dimensions"][0]["Value"] == {"Fn::GetAtt": ["UndeliveredEvents", "QueueName"]}


def test_a_notification_that_reaches_no_subscriber_alarms():
    alarm = ALARMS["UndeliveredNotificationsAlarm"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/SNS", "NumberOfNotificationsFailed")


def test_a_schedule_without_maintenance_is_warned_of_at_the_deployment():
    assert TEMPLATE["Outputs"]["Warning"]["Condition"] == "IsWithoutMaintenance"
    scheduled, maintained = TEMPLATE["Conditions"]["IsWithoutMaintenance"]["Fn::And"]
    assert scheduled == {"Condition": "IsScheduled"}
    assert maintained == {"Fn::Equals": [{"Ref": "MaintenanceScheduleState"}, "DISABLED"]}


def test_notifications_are_encrypted_by_a_key_that_rotates():
    assert RESOURCES["NotificationTopic"]["Properties"]["KmsMasterKeyId"] == {
        "Ref": "NotificationKey"
    }
    assert RESOURCES["NotificationKey"]["Properties"]["EnableKeyRotation"] is True
