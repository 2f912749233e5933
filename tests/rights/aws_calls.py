"""What AWS itself calls with the stack's roles, and what the suite's data is too small for.

The local cloud records none of these. Each names the documentation that requires it.
"""

from typing import Final

from local.cloud.calls import Call

_ARN = "arn:${AWS::Partition}"
_IN_REGION = ":${AWS::Region}:${AWS::AccountId}:"

_LAMBDA_LOGS = 'Lambda Developer Guide, "Sending Lambda function logs to CloudWatch Logs"'
_LAMBDA_TRACES = 'Lambda Developer Guide, "Visualize Lambda function invocations using AWS X-Ray"'
_LAMBDA_NETWORK = 'Lambda Developer Guide, "Giving Lambda functions access to resources in a VPC"'
_GLUE_ROLE = 'AWS Glue Developer Guide, "Create an IAM policy for the AWS Glue service"'
_GLUE_METRICS = 'AWS Glue Developer Guide, "Job monitoring with Amazon CloudWatch metrics"'
_MULTIPART = 'Apache Iceberg, "AWS Integrations", Progressive Multipart Upload'
_CATALOG = 'Apache Iceberg, "AWS Integrations", Glue Catalog'
_ABORTED = "Apache Iceberg, SparkCleanupUtil: a write that is aborted deletes its files"
_TRANSFER = 'Amazon S3 User Guide, "Uploading and copying objects using multipart upload"'
_MISSING = 'Amazon S3 API Reference, "GetObject": 403 in place of 404 without s3:ListBucket'
_STATES_GLUE = 'Step Functions Developer Guide, "IAM policies for calling AWS Glue"'
_STATES_LOGS = 'Step Functions Developer Guide, "IAM policies for logging to CloudWatch Logs"'
_STATES_TRACES = 'Step Functions Developer Guide, "IAM policies for using AWS X-Ray"'
_EVENTS = 'EventBridge User Guide, "Using EventBridge and Step Functions"'

_FUNCTIONS = {
    "IngestRole": "IngestLogs",
    "LoadRole": "LoadLogs",
    "PublishRole": "PublishLogs",
    "GlueCodeRole": "GlueCodeLogs",
}
_IN_NETWORK = ("IngestRole", "LoadRole", "PublishRole")
_JOBS = {
    "BuildStarRole": ("build_star", ("ArtifactsBucket", "LakeBucket", "RawBucket")),
    "BuildDimensionsRole": ("build_dimensions", ("ArtifactsBucket", "LakeBucket", "RawBucket")),
    "BuildFactsRole": ("build_facts", ("ArtifactsBucket", "LakeBucket", "RawBucket")),
    "MaintainTablesRole": ("maintain_tables", ("ArtifactsBucket", "LakeBucket")),
}
_MACHINES = {
    "PipelineRole": ("BuildStarJob", "BuildDimensionsJob", "BuildFactsJob"),
    "MaintenanceRole": ("MaintainTablesJob",),
}


def _logs(group: str, *, stream: bool = True) -> str:
    return f"{_ARN}:logs{_IN_REGION}log-group:${{{group}}}{':log-stream:0' if stream else ''}"


def _of_functions() -> dict[Call, str]:
    found = {}
    for role, group in _FUNCTIONS.items():
        for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
            found[Call(role, action, _logs(group))] = _LAMBDA_LOGS
        for action in ("xray:PutTraceSegments", "xray:PutTelemetryRecords"):
            found[Call(role, action, "*")] = _LAMBDA_TRACES
    for role in _IN_NETWORK:
        for action in (
            "ec2:CreateNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:DeleteNetworkInterface",
            "ec2:AssignPrivateIpAddresses",
            "ec2:UnassignPrivateIpAddresses",
        ):
            found[Call(role, action, "*")] = _LAMBDA_NETWORK
    return found


def _of_jobs() -> dict[Call, str]:
    found = {}
    for role, (script, buckets) in _JOBS.items():
        code = f"{_ARN}:s3:::${{ArtifactsBucket}}"
        found[Call(role, "s3:GetObject", f"{code}/glue/0/{script}.py")] = _GLUE_ROLE
        for bucket in buckets:
            for action in ("s3:ListBucket", "s3:GetBucketLocation"):
                found[Call(role, action, f"{_ARN}:s3:::${{{bucket}}}")] = _GLUE_ROLE
        for group in ("JobOutputLogs", "JobErrorLogs"):
            found[Call(role, "logs:CreateLogGroup", _logs(group, stream=False))] = _GLUE_ROLE
            for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
                found[Call(role, action, _logs(group))] = _GLUE_ROLE
        metrics = (("cloudwatch:namespace", "Glue"),)
        found[Call(role, "cloudwatch:PutMetricData", "*", metrics)] = _GLUE_METRICS
    return found


def _of_machines() -> dict[Call, str]:
    found = {}
    for role, jobs in _MACHINES.items():
        for job in jobs:
            for action in ("glue:GetJobRuns", "glue:BatchStopJobRun"):
                found[Call(role, action, f"{_ARN}:glue{_IN_REGION}job/${{{job}}}")] = _STATES_GLUE
        for action in (
            "logs:CreateLogDelivery",
            "logs:GetLogDelivery",
            "logs:UpdateLogDelivery",
            "logs:DeleteLogDelivery",
            "logs:ListLogDeliveries",
            "logs:PutResourcePolicy",
            "logs:DescribeResourcePolicies",
            "logs:DescribeLogGroups",
        ):
            found[Call(role, action, "*")] = _STATES_LOGS
        for action in (
            "xray:PutTraceSegments",
            "xray:PutTelemetryRecords",
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
        ):
            found[Call(role, action, "*")] = _STATES_TRACES
    for machine in ("PipelineStateMachine", "MaintenanceStateMachine"):
        start = Call(f"{machine}ScheduleRole", "states:StartExecution", f"${{{machine}}}")
        found[start] = _EVENTS
    return found


def _of_failures() -> dict[Call, str]:
    """Returns what failures need that not each run of the suite has."""
    lake = f"{_ARN}:s3:::${{LakeBucket}}"
    written = {
        "BuildStarRole": ("dim_date", "fact_payment", "quarantine"),
        "BuildDimensionsRole": ("dim_date",),
        "BuildFactsRole": ("fact_payment", "quarantine"),
        "MaintainTablesRole": ("dim_date", "fact_payment", "quarantine"),
    }
    found = {}
    for role, tables in written.items():
        for table in tables:
            file = f"{lake}/star/{table}/data/0.parquet"
            found[Call(role, "s3:AbortMultipartUpload", file)] = _MULTIPART
            found[Call(role, "s3:DeleteObject", file)] = _ABORTED
    found[Call("PublishRole", "s3:AbortMultipartUpload", f"{lake}/extracts/0.csv")] = _TRANSFER
    for role, bucket in (
        ("IngestRole", "LakeBucket"),
        ("LoadRole", "LakeBucket"),
        ("LoadRole", "RawBucket"),
        ("PublishRole", "RawBucket"),
    ):
        found[Call(role, "s3:ListBucket", f"{_ARN}:s3:::${{{bucket}}}")] = _MISSING
    return found


def _of_large_first_builds() -> dict[Call, str]:
    """Returns what two jobs call that make the star tables: the suite's first build takes one."""
    database = f"{_ARN}:glue{_IN_REGION}database/${{StarDatabase}}"
    found = {}
    for role, table in (("BuildDimensionsRole", "dim_date"), ("BuildFactsRole", "fact_payment")):
        catalog = f"{_ARN}:glue{_IN_REGION}catalog"
        for one in (catalog, database):
            found[Call(role, "glue:GetDatabase", one)] = _CATALOG
        for action in ("glue:CreateTable", "glue:UpdateTable"):
            held = f"{_ARN}:glue{_IN_REGION}table/${{StarDatabase}}/{table}"
            for one in (catalog, database, held):
                found[Call(role, action, one)] = _CATALOG
        file = f"{_ARN}:s3:::${{LakeBucket}}/star/{table}/data/0.parquet"
        found[Call(role, "s3:PutObject", file)] = _CATALOG
    quarantine = f"{_ARN}:s3:::${{LakeBucket}}/star/quarantine/data/0.parquet"
    found[Call("BuildFactsRole", "s3:PutObject", quarantine)] = _CATALOG
    return found


AWS_CALLS: Final = (
    _of_functions() | _of_jobs() | _of_machines() | _of_failures() | _of_large_first_builds()
)
"""The calls, with the documentation that requires each."""
