"""What the state machine asks of each function: the payloads of its invocations.

The expressions of `state_machine/pipeline.asl.yaml` write these documents, and the tests of the
expressions read them with these classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pipeline.answers import IngestAnswer, LoadAnswer
from pipeline.errors import InvalidInput


class _Request:
    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Reads a request.

        Raises:
            InvalidInput: The document lacks a required field, or has an unknown one.
        """
        try:
            return cls(**document)
        except TypeError as error:
            raise InvalidInput(
                f"the function was invoked with a payload that is no {cls.__name__} ({error}): "
                "start the state machine instead, or redeploy the stack"
            ) from error


@dataclass(frozen=True)
class IngestRequest(_Request):
    """What an execution asks of Ingest.

    Attributes:
        run_id: The execution's name.
        full_refresh: Tables to take whole; True for all of them.
        rebuild: Whether all star tables are to be built again from raw.
        verify: Whether to make the source's fingerprints, and to trust no counter.
        loaded_through: A sequence known to be committed; 0 if none is.
        is_last_attempt: Whether a table that cannot be taken now is to be reported as not taken.
            Otherwise a passing reason fails the invocation, which is then retried.
    """

    run_id: str
    full_refresh: bool | tuple[str, ...] = False
    rebuild: bool = False
    verify: bool = False
    loaded_through: int = 0
    is_last_attempt: bool = True

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Reads a request.

        Raises:
            InvalidInput: The document lacks a required field, or has an unknown one.
        """
        refresh = document.get("full_refresh", False)
        taken = refresh if isinstance(refresh, bool) else tuple(refresh)
        return super().from_json({**document, "full_refresh": taken})


@dataclass(frozen=True)
class LoadRequest(_Request):
    """What an execution asks of Load.

    Attributes:
        run_id: The execution's name.
        sequence: The run to load through.
        rebuild: Whether to compare every row with the lake, not only the new ones.
        verify: Whether to prove that source, star schema and warehouse are equal.
        ingest_report: The key of Ingest's report, which has the source's fingerprints.
    """

    run_id: str
    sequence: int
    rebuild: bool = False
    verify: bool = False
    ingest_report: str = ""


@dataclass(frozen=True)
class PublishRequest(_Request):
    """What an execution asks of Publish.

    Attributes:
        run_id: The execution's name.
        execution: The execution's ARN.
        ingested: What Ingest answered; None if it failed.
        loaded: What Load answered; None if it failed, or had nothing to do.
        through: The run through which every star table is loaded.
        publishes: Whether there is a run to publish.
        extracts: Whether to write extracts, and to log previews.
        failure: Why the execution failed; empty if it did not.
    """

    run_id: str
    execution: str
    ingested: IngestAnswer | None = None
    loaded: LoadAnswer | None = None
    through: int = 0
    publishes: bool = False
    extracts: bool = False
    failure: str = ""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Reads a request.

        Raises:
            InvalidInput: The document lacks a required field, or has an unknown one.
        """
        ingested, loaded = document.get("ingested"), document.get("loaded")
        answers = {
            "ingested": IngestAnswer.from_json(ingested) if ingested else None,
            "loaded": LoadAnswer.from_json(loaded) if loaded else None,
        }
        return super().from_json({**document, **answers})
