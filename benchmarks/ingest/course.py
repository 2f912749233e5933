"""One source, against which every run has a fresh process and an empty folder of its own."""

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
    """Where contenders run.

    Attributes:
        url: The source database.
        folder: Where the runs' folders are made, and removed after each.
        timeout_s: How long a run may take.
        variables: What else a contender finds in its environment.
    """

    url: str
    folder: Path
    timeout_s: float
    variables: Mapping[str, str] = field(default_factory=dict)

    def run(self, contender: Contender, keep: Callable[[Path], None] | None = None) -> Usage:
        """Runs a contender once.

        Args:
            contender: Who runs.
            keep: Is shown the folder that the contender wrote to, before that is removed.

        Raises:
            CommandFailed: It failed.
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
    """Prints how far the benchmark is."""
    print(what, file=sys.stderr, flush=True)
