"""The stack: whether it is there, and whether it is what this clone would deploy."""

import io
import json
import re
import zipfile
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from samtranslator.yaml_helper import yaml_parse

from doctor.finding import CannotLook, Check, Finding, fault, judged, not_applicable, ok
from doctor.place import NoStack, Place
from doctor.remedies import SET_REGION, remedies
from lambdas.glue_code.handler import zip_of
from lambdas.ingest.scope import Scope
from local.deployment import ROOT, code_digest
from pipeline.errors import InvalidSettings

_BUILT = ("CodeUri", "DefinitionUri", "SamResourceId")
"""What `sam build` and `sam deploy` write into a template."""
_PLACEHOLDER = re.compile(r"\$\{[A-Za-z]+\}")
_VERSION = re.compile(r'"(arn:[^"]*:function:[^":]+):([^":]+)"')
_JOB_CODE = re.compile(r"s3://([^/'\"]+)/(glue/[^'\"]+\.zip)")
_DIFFERENCES_SHOWN = 5
_AWAITED = {"CREATE": "stack-create", "DELETE": "stack-delete"}
_MENDED = {
    "ROLLBACK_COMPLETE": "aws cloudformation delete-stack --stack-name {stack} && {deploy}",
    "ROLLBACK_FAILED": "aws cloudformation delete-stack --stack-name {stack} && {deploy}",
    "DELETE_FAILED": "aws cloudformation delete-stack --stack-name {stack}",
    "REVIEW_IN_PROGRESS": "aws cloudformation delete-stack --stack-name {stack} && {deploy}",
    "UPDATE_ROLLBACK_FAILED": "aws cloudformation continue-update-rollback --stack-name {stack}",
}


def _region(place: Place) -> Finding:
    if place.session.region_name is None:
        return fault("no region is set", SET_REGION)
    return ok(f"{place.session.region_name}")


def _credentials(place: Place) -> Finding:
    try:
        identity = place.client("sts").get_caller_identity()
    except CannotLook as error:
        return fault(str(error), *error.fixes)
    except (ClientError, BotoCoreError) as error:
        if fixes := remedies(error):
            return fault(str(error), *fixes)
        raise
    return ok(f"{identity['Arn']} in account {identity['Account']}")


def _state(place: Place) -> Finding:
    try:
        state = place.stack["StackStatus"]
    except NoStack as error:
        return fault(str(error), *error.fixes)
    if state in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"):
        return ok(f"{place.stack_name} is {state}")
    if state.endswith("_IN_PROGRESS") and state not in _MENDED:
        operation = _AWAITED.get(state.partition("_")[0], "stack-update")
        raise CannotLook(
            f"{place.stack_name} is {state}: the other checks see it half done",
            f"aws cloudformation wait {operation}-complete --stack-name {place.stack_name}",
        )
    fix = _MENDED.get(state, "{deploy}").format(stack=place.stack_name, deploy=place.deploy)
    return fault(f"{place.stack_name} is {state}{_first_failure(place)}", fix)


def _first_failure(place: Place) -> str:
    events = place.client("cloudformation").describe_stack_events(StackName=place.stack_name)
    reasons = [
        f" since {event['LogicalResourceId']} failed: {event.get('ResourceStatusReason', '')}"
        for event in reversed(events["StackEvents"])
        if event.get("ResourceStatus", "").endswith("_FAILED")
        and "cancelled" not in event.get("ResourceStatusReason", "")
    ]
    return next(iter(reasons), "")


def _template(place: Place) -> Finding:
    name = place.stack["StackName"]
    client = place.client("cloudformation")
    body = client.get_template(StackName=name, TemplateStage="Original")["TemplateBody"]
    deployed = yaml_parse(body) if isinstance(body, str) else json.loads(json.dumps(body))
    committed = yaml_parse((ROOT / "template.yaml").read_text())
    found = _differences(_unbuilt(committed), _unbuilt(deployed), "")
    return _drift(place, "the deployed template", found)


def _definitions(place: Place) -> Finding:
    found: list[str] = []
    for output, name in (
        ("StateMachineArn", "pipeline"),
        ("MaintenanceStateMachineArn", "maintenance"),
    ):
        committed = json.loads((ROOT / "state_machine" / f"{name}.asl.json").read_text())
        deployed = json.loads(_definition(place, output))
        found += [f"{name}{one}" for one in _differences(committed, deployed, "")]
    return _drift(place, "the deployed state machines", found)


def _drift(place: Place, what: str, differences: list[str]) -> Finding:
    if not differences:
        return ok(f"{what} is what this clone has")
    shown = ", ".join(differences[:_DIFFERENCES_SHOWN])
    more = len(differences) - _DIFFERENCES_SHOWN
    return fault(
        f"{what} differs from this clone's at {shown}{f' and {more} more' if more > 0 else ''}",
        place.deploy,
    )


def _unbuilt(value: Any) -> Any:
    """Returns a template without what a build writes into it."""
    if isinstance(value, dict):
        kept = {name: _unbuilt(item) for name, item in value.items() if name not in _BUILT}
        return {name: item for name, item in kept.items() if (name, item) != ("Metadata", {})}
    return [_unbuilt(item) for item in value] if isinstance(value, list) else value


def _differences(committed: Any, deployed: Any, where: str) -> list[str]:
    """Returns where two documents differ. A placeholder of the first one stands for any text."""
    if isinstance(committed, dict) and isinstance(deployed, dict):
        return [
            one
            for name in {**committed, **deployed}
            for one in _differences(committed.get(name), deployed.get(name), f"{where}.{name}")
        ]
    if isinstance(committed, list) and isinstance(deployed, list):
        if len(committed) != len(deployed):
            return [where]
        pairs = enumerate(zip(committed, deployed, strict=True))
        return [one for index, pair in pairs for one in _differences(*pair, f"{where}[{index}]")]
    return [] if _is_same(committed, deployed) else [where]


def _is_same(committed: Any, deployed: Any) -> bool:
    if not isinstance(committed, str) or committed == deployed:
        return bool(committed == deployed)
    parts = map(re.escape, _PLACEHOLDER.split(committed))
    return re.fullmatch(".*".join(parts), str(deployed), re.DOTALL) is not None


def _definition(place: Place, output: str) -> str:
    text: str = place.client("stepfunctions").describe_state_machine(
        stateMachineArn=place.output(output)
    )["definition"]
    return text


def _scope(place: Place) -> Finding:
    settings = place.ingest
    try:
        scope = Scope.of(settings.schemas, settings.tables_left_out, settings.columns_left_out)
        scope.refuse_needed(place.stars)
    except InvalidSettings as error:
        name = str(error).partition(" ")[0]
        return fault(str(error), place.deploy_with(f"{name}=…"))
    return ok(f"schemas {', '.join(settings.schemas)}; no star table needs what is left out")


def _secrets_in_region(place: Place) -> Finding:
    wrong = {
        f"{name} is in {_region_of(arn)}, and the stack in {place.session.region_name}": (
            place.deploy_with(f"{name}=arn:…")
        )
        for name in ("SourceSecretArn", "WarehouseSecretArn")
        if (arn := place.parameters.get(name, "")) and _region_of(arn) != place.session.region_name
    }
    return judged(wrong, "both secrets are in the stack's region")


def _region_of(arn: str) -> str:
    return arn.split(":")[3]


def _functions(place: Place) -> Finding:
    """Looks at the versions that the definition names, and at each function's newest code."""
    client = place.client("lambda")
    problems: dict[str, str] = {}
    for function, version in sorted(set(_VERSION.findall(_definition(place, "StateMachineArn")))):
        name = function.rpartition(":")[2]
        try:
            used = client.get_function_configuration(FunctionName=function, Qualifier=version)
        except client.exceptions.ResourceNotFoundException:
            problems[f"version {version} of {name}, which the definition names, is gone"] = (
                place.deploy
            )
            continue
        newest = client.get_function_configuration(FunctionName=function)
        for one in (used, newest):
            if one.get("State") == "Failed" or one.get("LastUpdateStatus") == "Failed":
                reason = one.get("StateReason") or one.get("LastUpdateStatusReason", "")
                problems[f"{name} has failed: {reason}"] = place.deploy
        if (used["CodeSha256"], used.get("Environment")) != (
            newest["CodeSha256"],
            newest.get("Environment"),
        ):
            problems[
                f"the definition uses version {version} of {name}, which was changed since"
            ] = place.deploy
    return judged(problems, "the definition names the newest version of each function")


def _jobs(place: Place) -> Finding:
    """Looks for the objects that the definitions hand to the jobs, and for the jobs' versions."""
    client, s3 = place.client("glue"), place.client("s3")
    jobs = place.resources_of("AWS::Glue::Job")
    problems: dict[str, str] = {}
    codes = _job_codes(place)
    for name in jobs:
        try:
            job = client.get_job(JobName=name)["Job"]
        except client.exceptions.EntityNotFoundException:
            problems[f"the Glue job {name} is gone"] = place.deploy
            continue
        default = job["DefaultArguments"].get("--extra-py-files", "")
        if _JOB_CODE.findall(default) != codes:
            problems[f"{name} has {default}, which the definitions do not"] = place.deploy
        if job.get("GlueVersion") != place.parameters.get("GlueVersion"):
            problems[f"{name} has GlueVersion {job.get('GlueVersion')}"] = place.deploy
    for bucket, key in codes:
        try:
            s3.head_object(Bucket=bucket, Key=key)
        except s3.exceptions.ClientError:
            problems[f"s3://{bucket}/{key}, the jobs' code, is gone"] = place.deploy
    return judged(problems, f"{len(jobs)} jobs, with the code that the definitions name")


def _job_codes(place: Place) -> list[tuple[str, str]]:
    return list(dict.fromkeys(_JOB_CODE.findall(_definition(place, "StateMachineArn"))))


def _job_code(place: Place) -> Finding:
    """Compares the jobs' deployed code with this clone's, file by file."""
    for bucket, key in _job_codes(place):
        content = place.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        ours, deployed = _files(zip_of(ROOT)), _files(content)
        if changed := sorted(
            name for name in {**ours, **deployed} if ours.get(name) != deployed.get(name)
        ):
            return fault(
                f"the jobs' deployed code differs from this clone's in {len(changed)} files, "
                f"{changed[0]} among them",
                place.deploy,
            )
    return ok("the jobs run this clone's code")


def _files(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _local_code(place: Place) -> Finding:
    if place.local is None:
        return not_applicable("a function's package cannot be compared without building it")
    given = ("SourceSecretArn", "WarehouseSecretArn", "DatabaseSslMode")
    if place.local.deployed_digest == code_digest({one: place.parameters[one] for one in given}):
        return ok("the local stack has this clone's code")
    return fault("the local stack has other code than this clone", "make run")


CHECKS = (
    Check("stack.credentials", "who you are, by AWS STS", _credentials),
    Check("stack.region", "the region", _region),
    Check("stack.state", "the stack's state", _state),
    Check("stack.template", "the deployed template, beside template.yaml", _template),
    Check("stack.definitions", "the deployed state machines, beside state_machine/", _definitions),
    Check("stack.job_code", "the code that the Glue jobs run, file by file", _job_code),
    Check("stack.local_code", "the code that the local stack was deployed from", _local_code),
    Check(
        "stack.functions", "the functions' versions in the definition, and their states", _functions
    ),
    Check("stack.jobs", "the Glue jobs, their version and the objects with their code", _jobs),
    Check("stack.scope", "SourceSchemas, SourceTablesLeftOut and SourceColumnsLeftOut", _scope),
    Check("stack.secrets_region", "the region of the secrets' ARNs", _secrets_in_region),
)
