"""One source. Each run has a new process and an empty folder."""

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import measure
from benchmarks.ingest.contenders.task import FOLDER_VARIABLE, SOURCE_VARIABLE
from benchmarks.ingest.source import libpq_environment
from benchmarks.measure import Contender, Usage


@dataclass(frozen=True)
class Course:
    """The place where contenders run.

    Attributes:
        url: The source database.
        folder: The parent of the runs' folders, which are removed after each run.
        timeout_s: The time limit of a run.
        variables: Additional environment variables of a contender.
    """

    url: str
    folder: Path
    timeout_s: float
    variables: Mapping[str, str] = field(default_factory=dict)

    def run(self, contender: Contender, keep: Callable[[Path], None] | None = None) -> Usage:
        """Runs a contender once.

        Args:
            contender: The contender.
            keep: Called with the contender's output folder before the folder is removed.

        Raises:
            CommandFailed: The contender failed.
        """
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            folder = Path(name)
            output, temporary = folder / "output", folder / "temporary"
            output.mkdir()
            temporary.mkdir()
            environment = {
                **self.variables,
                **libpq_environment(self.url),
                SOURCE_VARIABLE: self.url,
                FOLDER_VARIABLE: str(output),
                "TMPDIR": str(temporary),
                "SPARK_LOCAL_DIRS": str(temporary),
            }
            if contender.prepare:
                self._measured(contender.prepare, environment, folder)
            usage = self._measured(contender.command, environment, folder)
            tell(f"{contender.name}: {usage.wall_s:.2f} s")
            if keep:
                keep(output)
        return usage

    def _measured(
        self, command: tuple[str, ...], environment: dict[str, str], folder: Path
    ) -> Usage:
        return measure.run(
            command, environment=environment, folder=folder, timeout_s=self.timeout_s
        )


def tell(what: str) -> None:
    """Prints the benchmark's progress."""
    print(what, file=sys.stderr, flush=True)
