"""What a run costs: its billed units by stage, times AWS's public prices. An estimate."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.execution_history import Attempt
from pipeline.prices import Prices, glue_dpu_hours, lambda_gb_seconds

ORCHESTRATION: Final = "state machine"
"""The stage of transitions, the lock and notifications."""
_UNIT_OF_A_REQUEST: Final = {"dynamodb": "dynamodb_write", "sns": "sns_email"}
_DPU_OF_A_WORKER: Final = {"G.025X": 0.25, "G.1X": 1.0, "G.2X": 2.0, "G.4X": 4.0, "G.8X": 8.0}
"""Source: AWS Glue Developer Guide, "Worker types"."""
_SECONDS_AN_HOUR: Final = 3600


@dataclass(frozen=True)
class StageCost:
    """The billed units of a stage.

    Attributes:
        stage: The name of its state, or ORCHESTRATION.
        units: The number of units by the name of their price in pipeline/prices.toml.
        usd: What they cost, in US dollars.
    """

    stage: str
    units: dict[str, float]
    usd: float


@dataclass(frozen=True)
class Cost:
    """The estimated cost of an execution, without S3's requests, logs and traces.

    Attributes:
        usd: US dollars.
        stages: The stages, the most expensive first.
        region: The region of the prices.
        prices_of: The date of the oldest price.
        is_confirmed: Whether every price was read for the region.
    """

    usd: float
    stages: tuple[StageCost, ...]
    region: str
    prices_of: str
    is_confirmed: bool


def cost_of(
    attempts: Iterable[Attempt], transitions: int, memory: Mapping[str, int], prices: Prices
) -> Cost:
    """Returns the estimated cost of an execution.

    Args:
        attempts: The attempts at its tasks.
        transitions: The number of state transitions.
        memory: The memory of the function that each state invokes, in MB.
        prices: The prices.
    """
    units: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    units[ORCHESTRATION]["states_transition"] += transitions
    for attempt in attempts:
        if attempt.service == "lambda" and attempt.state in memory:
            used = lambda_gb_seconds(memory[attempt.state], attempt.seconds)
            units[attempt.state]["lambda_gb_second"] += used
            units[attempt.state]["lambda_request"] += 1
        elif attempt.service == "glue":
            units[attempt.state]["glue_dpu_hour"] += _dpu_hours(attempt)
        elif attempt.service in _UNIT_OF_A_REQUEST:
            units[ORCHESTRATION][_UNIT_OF_A_REQUEST[attempt.service]] += 1
    stages = [StageCost(name, dict(some), prices.usd(some)) for name, some in units.items()]
    priced = [prices.by_name[name] for stage in stages for name in stage.units]
    return Cost(
        usd=sum(stage.usd for stage in stages),
        stages=tuple(sorted(stages, key=lambda stage: -stage.usd)),
        region=prices.region,
        prices_of=min(price.read for price in priced).isoformat(),
        is_confirmed=all(price.confirmed for price in priced),
    )


def _dpu_hours(attempt: Attempt) -> float:
    """Returns the DPU-hours of a job run by its own figures; 0 if none was started.

    Source: AWS Glue API Reference, "JobRun": DPUSeconds is given for jobs with auto scaling.
    """
    try:
        run = json.loads(attempt.output)
    except ValueError:
        return 0.0
    if not isinstance(run, dict) or "ExecutionTime" not in run:
        return 0.0
    if run.get("DPUSeconds"):
        return float(run["DPUSeconds"]) / _SECONDS_AN_HOUR
    workers = float(run.get("NumberOfWorkers") or 0)
    dpus = float(run.get("MaxCapacity") or workers * _DPU_OF_A_WORKER.get(run["WorkerType"], 1.0))
    return glue_dpu_hours(dpus, float(run["ExecutionTime"]))
