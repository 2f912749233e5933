"""How fresh the warehouse is after an execution, and what the execution costs."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pg8000
from aws_lambda_powertools.metrics import MetricUnit, single_metric
from botocore.exceptions import BotoCoreError, ClientError

from lambdas.publish.warehouse import connect
from pipeline.answers import Failure
from pipeline.costs import Cost, cost_of
from pipeline.errors import PipelineError, StarTablesBehind, first_line
from pipeline.execution_history import Attempt, Event, attempts_of, read_history, transitions_of
from pipeline.freshness import Freshness, complete_as_of
from pipeline.manifest import Manifest, ManifestStore
from pipeline.prices import prices
from pipeline.requests import PublishRequest
from pipeline.settings import PublishSettings
from star_schema.tables import star_tables

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_stepfunctions import SFNClient

_STATES_AHEAD = 3
"""The transitions after Publish: HasAnythingFailed, Summarize, Succeed."""
_KEPT = (
    "insert into warehouse_freshness (complete_as_of, sequence) values (%s, %s) "
    "on conflict (is_only_row) do update set complete_as_of = excluded.complete_as_of, "
    "sequence = excluded.sequence returning complete_as_of"
)
_INSTALLED = (
    "select pg_catalog.to_regclass('load_position') is not null, "
    "pg_catalog.to_regclass('pipeline_run') is not null"
)
_REACHED = (
    "select pg_catalog.min(coalesce(position.sequence, 0)) "
    "from pg_catalog.unnest(%s::text[]) as star (name) "
    "left join load_position as position on position.table_name = star.name"
)
_SECONDS_A_MINUTE = 60
_SECONDS_AN_HOUR = 3600


@dataclass
class Observation:
    """What is known of an execution.

    Attributes:
        freshness: How fresh the warehouse is; None before the first load.
        cost: What the execution costs so far; None if its history cannot be read.
        history: The execution's history so far.
        problems: What could not be read or written, in words.
        failure: Set if the warehouse does not have what the executions have loaded.
    """

    freshness: Freshness | None = None
    cost: Cost | None = None
    history: list[Event] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    failure: Failure | None = None

    @property
    def told(self) -> list[str]:
        """Freshness and cost in words, and what is not known of them."""
        parts = []
        if self.freshness:
            as_of = self.freshness.data_as_of.strftime("%Y-%m-%d %H:%M:%S")
            parts.append(f"data as of {as_of} UTC, {age(self.freshness.seconds)} old")
        if self.cost:
            parts.append(f"estimated cost ${self.cost.usd:.4f}")
        return [*parts, *self.problems]


def observe(
    request: PublishRequest,
    settings: PublishSettings,
    store: ManifestStore,
    states: "SFNClient",
    secrets: "SecretsManagerClient",
    *,
    seconds: float,
) -> Observation:
    """Returns what is known of an execution. What cannot be reached is a problem, not an error.

    Args:
        request: What the execution did.
        settings: The function's settings.
        store: The manifests.
        states: AWS Step Functions.
        secrets: AWS Secrets Manager.
        seconds: How long Publish has worked so far: its attempt is not in the history yet.
    """
    found = Observation()
    try:
        found.freshness = _freshness(request, settings, store, secrets)
    except StarTablesBehind as error:
        found.failure = Failure(type(error).__name__, str(error))
        found.problems.append(str(error))
    except PipelineError as error:
        found.problems.append(f"freshness is not known: {first_line(error)}")
    try:
        found.history = read_history(states, request.execution)
        own = Attempt("Publish", "lambda", datetime.now(UTC), seconds)
        found.cost = cost_of(
            [*attempts_of(found.history), own],
            transitions_of(found.history) + _STATES_AHEAD,
            settings.memory,
            prices(),
        )
    except (ClientError, BotoCoreError) as error:
        found.problems.append(f"cost is not known: {first_line(error)}")
    return found


def _freshness(
    request: PublishRequest,
    settings: PublishSettings,
    store: ManifestStore,
    secrets: "SecretsManagerClient",
) -> Freshness | None:
    """Returns how fresh the warehouse is, and writes that into the warehouse.

    An execution that failed before it saw the source knows less than the one before it, which found
    nothing new: the later instant counts for the same run. Publish follows the lock, so a later
    execution may have written what it loaded: that stays.

    Raises:
        StarTablesBehind: The warehouse is loaded through an earlier run than its loads told, or by
            another stack.
    """
    if not request.through:
        return None
    needed = {source for star in star_tables() for source in star.sources}
    instant = complete_as_of(store, request.ingested, request.through, needed)
    with connect(settings.warehouse, secrets, writes=True) as connection:
        cursor = connection.cursor()
        reached = _check_loaded(cursor, request.through)
        if instant is None:
            return None
        cursor.execute("select pg_catalog.to_regclass('warehouse_freshness') is null")
        if cursor.fetchone()[0]:
            return Freshness.at(instant)  # the next load migrates the warehouse
        _check_run(cursor, store.read(request.through))
        cursor.execute("select complete_as_of, sequence from warehouse_freshness")
        known = cursor.fetchone()
        if known and known[1] == request.through and request.failure:
            instant = max(instant, known[0])
        is_late = known is not None and request.through < known[1] <= reached
        if not is_late and (known is None or (known[0], known[1]) != (instant, request.through)):
            cursor.execute(_KEPT, (instant, request.through))
            connection.commit()
    return Freshness.at(instant)


def _check_loaded(cursor: pg8000.Cursor, through: int) -> int:
    """Checks that the warehouse has what its loads have brought, and returns how far it has come.

    Raises:
        StarTablesBehind: It does not.
    """
    cursor.execute(_INSTALLED)
    has_positions, has_runs = cursor.fetchone()
    if has_runs and not has_positions:
        return through  # the next load migrates the warehouse
    reached = 0
    if has_positions:
        cursor.execute(_REACHED, ([star.name for star in star_tables()],))
        (reached,) = cursor.fetchone()
    if reached < through:
        raise StarTablesBehind(
            f"the warehouse was loaded through run {through}, and has come to run {reached} only: "
            'an earlier state of it was restored, or it is another one. Start {"verify": true}, '
            "which loads the runs that it lacks"
        )
    return reached


def _check_run(cursor: pg8000.Cursor, run: Manifest) -> None:
    """Checks that the warehouse has this raw zone's run, not one of another with its number.

    Raises:
        StarTablesBehind: It has another one.
    """
    cursor.execute("select run_id from captured_run where sequence = %s", (run.sequence,))
    found = cursor.fetchone()
    if found and found[0] != run.run_id:
        raise StarTablesBehind(
            f"the warehouse has run {run.sequence} of execution {found[0]}, and the raw zone that "
            f"of execution {run.run_id}: another stack has loaded it. Give each stack a database "
            'of its own, then start {"rebuild": true}'
        )


def put_metrics(found: Observation, namespace: str) -> None:
    """Writes FreshnessSeconds, and EstimatedCost by stage and in all, to the function's log.

    The log has them in CloudWatch's embedded metric format.
    """
    service = {"service": "publish"}
    figures: list[tuple[str, MetricUnit, float, dict[str, str]]] = []
    if found.freshness:
        figures.append(("FreshnessSeconds", MetricUnit.Seconds, found.freshness.seconds, service))
    if found.cost:
        figures.append(("EstimatedCost", MetricUnit.NoUnit, found.cost.usd, service))
        figures += [
            ("EstimatedCost", MetricUnit.NoUnit, stage.usd, service | {"stage": stage.stage})
            for stage in found.cost.stages
        ]
    for name, unit, value, dimensions in figures:
        with single_metric(
            name=name, unit=unit, value=value, namespace=namespace, default_dimensions=dimensions
        ):
            pass


def age(seconds: float) -> str:
    """Returns a length of time in words, in the two largest units."""
    if seconds < _SECONDS_A_MINUTE:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), _SECONDS_A_MINUTE)
    if seconds < _SECONDS_AN_HOUR:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, _SECONDS_A_MINUTE)
    return f"{hours} h {minutes} min"


def as_report(found: Observation) -> dict[str, Any]:
    """Returns what the report on the execution has of it."""
    return {
        "freshness": found.freshness
        and {
            "data_as_of": _instant(found.freshness.data_as_of),
            "seconds": found.freshness.seconds,
        },
        "cost": found.cost
        and {
            "usd": round(found.cost.usd, 6),
            "is_estimate": True,
            "region": found.cost.region,
            "prices_of": found.cost.prices_of,
            "stages": [
                {"stage": one.stage, "usd": round(one.usd, 6), "units": one.units}
                for one in found.cost.stages
            ],
        },
        "problems": found.problems,
    }


def figures_of(found: Observation) -> dict[str, Any]:
    """Returns what the answer to the state machine has of it."""
    return {
        "data_as_of": _instant(found.freshness.data_as_of) if found.freshness else "",
        "freshness_seconds": found.freshness.seconds if found.freshness else None,
        "cost_usd": round(found.cost.usd, 6) if found.cost else None,
    }


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
