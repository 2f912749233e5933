"""Which star tables have runs to apply: whether a build is started, and of which size.

The manifests say what there is to apply, the lake's own metadata what has been applied. What this
run captured decides nothing: a table whose build failed, a new one and one that was rolled back
have runs to apply although their sources are quiet, and a table that waits for a source has none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.answers import Failure
from pipeline.errors import SourceSchemaChanged
from pipeline.manifest import ManifestStore
from pipeline.pending import pending_captures
from star_schema.tables import StarTable


@dataclass(frozen=True)
class Unbuilt:
    """What is to be built.

    Attributes:
        tables: The star tables that have runs to apply.
        impossible: Why other star tables cannot be built.
    """

    tables: tuple[str, ...] = ()
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
    applied: Mapping[str, int | None],
    through: int,
) -> Unbuilt:
    """Returns what is to be built.

    Args:
        store: The manifests.
        stars: The star tables.
        applied: The run through which each is built, as `applied_runs` returns it; empty if
            everything is to be built again.
        through: The newest run; 0 if there is none.
    """
    tables: list[str] = []
    impossible: list[str] = []
    for star in stars if through else ():
        after = applied.get(star.name, 0)
        try:
            captures = pending_captures(store, star, after=after or 0, through=through)
            first = next(captures, None)
        except SourceSchemaChanged as error:
            impossible.append(str(error))
            continue
        if after is None or first is not None:
            tables.append(star.name)
    return Unbuilt(tuple(tables), tuple(impossible))
