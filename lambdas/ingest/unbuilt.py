"""Which star tables have runs to apply: whether a build is started, and of which size.

The manifests say what there is to apply, the lake's own metadata what has been applied. What this
run captured decides nothing: a table whose build failed, a new one and one that was rolled back
have runs to apply although their sources are quiet, and a table that waits for a source has none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pipeline.answers import Failure
from pipeline.applied_run import NEVER, AppliedRun
from pipeline.errors import ManifestInvalid, SourceSchemaChanged
from pipeline.manifest import ManifestStore
from pipeline.pending import pending_captures
from star_schema.tables import StarTable

_MOST_CAPTURES: Final = 200
"""A build of more captures of one star table is not small. No more manifests are read."""


@dataclass(frozen=True)
class Unbuilt:
    """What is to be built.

    Attributes:
        tables: The star tables that have runs to apply.
        jobs: How many jobs build them: none, one for all of them, or one for the dimensions and
            one for the facts.
        impossible: Why other star tables cannot be built.
    """

    tables: tuple[str, ...] = ()
    jobs: int = 0
    impossible: tuple[str, ...] = ()

    def added_to(self, failure: Failure | None) -> Failure | None:
        """Returns the failure of an execution, with the star tables that cannot be built."""
        if not self.impossible:
            return failure
        causes = "; ".join(self.impossible)
        if failure is None:
            return Failure("SourceSchemaChanged", causes)
        return Failure(failure.error, f"{failure.cause}; {causes}")


NOTHING = Unbuilt()


def unbuilt(
    store: ManifestStore,
    stars: Iterable[StarTable],
    applied: Mapping[str, AppliedRun | None],
    *,
    through: int,
    small_rows: int,
) -> Unbuilt:
    """Returns what is to be built.

    Args:
        store: The manifests.
        stars: The star tables.
        applied: The run through which each is built, as `applied_runs` returns it; empty if
            everything is to be built again.
        through: The newest run; 0 if there is none.
        small_rows: How many captured rows one job builds.

    Raises:
        ManifestInvalid: A star table has applied other runs than those of the raw zone.
    """
    _refuse_other_runs(store, applied, through)
    captures: dict[str, list[int]] = {}
    impossible: list[str] = []
    for star in stars if through else ():
        last = applied.get(star.name, NEVER)
        try:
            rows = pending_captures(store, star, after=(last or NEVER).through, through=through)
            found = list(islice(rows, _MOST_CAPTURES + 1)) if last else [0]
        except SourceSchemaChanged as error:
            impossible.append(str(error))
            continue
        if found:
            captures[star.name] = found
    is_small = (
        sum(map(sum, captures.values())) <= small_rows
        and max(map(len, captures.values()), default=0) <= _MOST_CAPTURES
    )
    jobs = 0 if not captures else 1 if is_small else 2
    return Unbuilt(tuple(captures), jobs, tuple(impossible))


def _refuse_other_runs(
    store: ManifestStore, applied: Mapping[str, AppliedRun | None], through: int
) -> None:
    """Fails if the raw zone is another one than the lake was built from, or has lost runs of it.

    The star tables would not apply its next runs, or apply them to rows of other runs.
    """
    built = {name: last for name, last in sorted(applied.items()) if last and last.through}
    if not built:
        return
    name, last = max(built.items(), key=lambda item: item[1].through)
    if last.through <= through and last.run_id in ("", store.read(last.through).run_id):
        return
    found = "has come to" if last.through > through else "has another"
    raise ManifestInvalid(
        f"{name} is built through run {last.through} in the lake (of execution {last.run_id}), and "
        f"the raw zone {found} run {min(last.through, through)}: manifests were deleted, an "
        "earlier state of it was restored, or it is another one. Restore them from their versions, "
        'or start the state machine with {"rebuild": true}'
    )
