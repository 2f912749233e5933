"""Logs that end, and failures that somebody is told of."""

import pytest

from tests.template import TEMPLATE
from tests.unit.template.resources import FUNCTION, JOB, RESOURCES, STATE_MACHINE, of_type

LOG_GROUPS = of_type("AWS::Logs::LogGroup")
ALARMS = of_type("AWS::CloudWatch::Alarm")
TOPIC = {"Ref": "NotificationTopic"}


@pytest.mark.parametrize("name", LOG_GROUPS)
def test_a_log_group_keeps_its_lines_for_a_stated_time(name):
    assert LOG_GROUPS[name]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


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
    assert ALARMS["NoSuccessAlarm"]["ActionsEnabled"] == {"Fn::If": ["IsScheduled", True, False]}
    assert ALARMS["NoSuccessAlarm"]["TreatMissingData"] == "breaching"


def test_notifications_are_encrypted_by_a_key_that_rotates():
    assert RESOURCES["NotificationTopic"]["Properties"]["KmsMasterKeyId"] == {
        "Ref": "NotificationKey"
    }
    assert RESOURCES["NotificationKey"]["Properties"]["EnableKeyRotation"] is True
