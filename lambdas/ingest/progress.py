"""The progress of a run, stored where a later invocation of the run finds it."""

import json
from typing import TYPE_CHECKING, Any

from lambdas.ingest.run_plan import RunPlan
from lambdas.ingest.taken import Taken
from pipeline.object_store import ObjectStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FORMAT = 4
"""Version of the documents below. Plans of another version are not continued.

Format 1 had no version number, and stored chunks without the plan that they belong to.
"""
_PREFIX = "progress/"
_PLAN = "plan.json"

ChunkKey = tuple[str, int]
"""A table's name and the number of a chunk in its plan."""


class Progress:
    """The progress of one run, as objects under `progress/<run_id>/` in the raw bucket.

    `plan.json` holds the plan; `<plan>/<table>-<chunk>.json` holds what a chunk gave. A run that
    is planned again never reads the chunks of the plan before. A lifecycle rule of the bucket
    expires all of them.
    """

    def __init__(self, bucket: str, client: "S3Client", run_id: str) -> None:
        self._objects = ObjectStore(bucket, client)
        self._prefix = f"{_PREFIX}{run_id}/"

    def plan(self) -> tuple[RunPlan, int] | None:
        """Returns the plan of an earlier invocation and the number of invocations so far.

        Returns None if there is no plan, or if another version of this code wrote it.
        """
        text = self._objects.get_if_there(f"{self._prefix}{_PLAN}")
        document: dict[str, Any] = json.loads(text) if text else {}
        if document.get("format") != FORMAT:
            return None
        return RunPlan.from_document(document["plan"]), int(document["invocations"])

    def save_plan(self, plan: RunPlan, invocations: int) -> None:
        """Stores the plan for the next invocation."""
        self._put(_PLAN, {"format": FORMAT, "plan": plan.to_document(), "invocations": invocations})

    def chunks(self, plan: RunPlan) -> dict[ChunkKey, Taken]:
        """Returns what each chunk of a plan gave, as far as the chunks have been read."""
        found: dict[ChunkKey, Taken] = {}
        for stored in self._objects.keys(f"{self._prefix}{plan.identifier}/"):
            document = json.loads(self._objects.get(stored.key))
            key = (document["table"], document["chunk"])
            found[key] = Taken.from_document(document["taken"])
        return found

    def save_chunk(self, plan: RunPlan, key: ChunkKey, taken: Taken) -> None:
        """Stores what a chunk gave; later invocations do not read the chunk again."""
        table, chunk = key
        # A table's name may contain characters that an object's key may not.
        self._put(
            f"{plan.identifier}/{table.encode().hex()}-{chunk:06d}.json",
            {"table": table, "chunk": chunk, "taken": taken.to_document()},
        )

    def _put(self, name: str, document: dict[str, Any]) -> None:
        text = json.dumps(document).encode()
        self._objects.put(f"{self._prefix}{name}", text, "application/json")
