"""The progress of a run, stored where a later invocation of the run finds it."""

import json
from typing import TYPE_CHECKING, Any

from lambdas.ingest.run_plan import RunPlan, TablePlan
from lambdas.ingest.taken import Taken
from pipeline.object_store import ObjectStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FORMAT = 8
"""Version of the documents below. Plans of another version are not continued.

Format 1 had no version number, and stored chunks without the plan that they belong to.
"""
_PREFIX = "progress/"
_PLAN = "plan.json"

ChunkKey = tuple[str, int]
"""A table's name and the number of a chunk in its plan."""


class Progress:
    """The progress of one run, as objects under `progress/<run_id>/` in the raw bucket.

    `plan.json` holds the plan; `raw/<plan of a table>-<chunk>.json` holds what a chunk gave, and
    `raw_keys/` likewise what a key sweep gave. Those of a table that is planned again are not read
    any more. A lifecycle rule of the bucket expires all of them.
    """

    def __init__(self, bucket: str, client: "S3Client", run_id: str) -> None:
        self._objects = ObjectStore(bucket, client)
        self._prefix = f"{_PREFIX}{run_id}/"

    def plan(self) -> RunPlan | None:
        """Returns the plan of an earlier invocation.

        Returns None if there is no plan, or if another version of this code wrote it.
        """
        text = self._objects.get_if_there(f"{self._prefix}{_PLAN}")
        document: dict[str, Any] = json.loads(text) if text else {}
        if document.get("format") != FORMAT:
            return None
        return RunPlan.from_document(document["plan"])

    def save_plan(self, plan: RunPlan) -> None:
        """Stores the plan for the next invocation."""
        self._put(_PLAN, {"format": FORMAT, "plan": plan.to_document()})

    def taken(self, plan: RunPlan, kind: str) -> dict[ChunkKey, Taken]:
        """Returns what each chunk of a plan gave, as far as the chunks have been read.

        Args:
            plan: The plan.
            kind: The prefix of the raw zone that the chunks were read into.
        """
        names = {planned.identifier: planned.name for planned in plan.tables}
        prefix = f"{self._prefix}{kind}/"
        found: dict[ChunkKey, Taken] = {}
        for stored in self._objects.keys(prefix):
            identifier, number = stored.key.removeprefix(prefix).removesuffix(".json").split("-")
            if identifier in names:
                document = json.loads(self._objects.get(stored.key))
                found[names[identifier], int(number)] = Taken.from_document(document)
        return found

    def save_taken(self, planned: TablePlan, kind: str, chunk: int, taken: Taken) -> None:
        """Stores what a chunk gave; later invocations do not read the chunk again."""
        self._put(f"{kind}/{planned.identifier}-{chunk:06d}.json", taken.to_document())

    def _put(self, name: str, document: dict[str, Any]) -> None:
        text = json.dumps(document).encode()
        self._objects.put(f"{self._prefix}{name}", text, "application/json")
