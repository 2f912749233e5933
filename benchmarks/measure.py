"""Measurement for all benchmarks: new processes, in turns, compared with a stated limit."""

import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
_LAUNCHER = Path(__file__).with_name("launcher.py")
_POLL_SECONDS = 0.5
_LEAST_MEMORY_BYTES = 512 * 1024 * 1024
_LINES_OF_LOG = 3


class CommandFailed(Exception):
    """A measured command failed."""


@dataclass(frozen=True)
class Usage:
    """The resources that one run of a command used.

    Attributes:
        wall_s: Seconds from its start to its end.
        cpu_s: User and system seconds of the process and of the children it waited for.
        peak_mb: The peak memory (10^6 bytes) of its largest single process.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float


OWN_USAGE_VARIABLE = "BENCHMARK_OWN_USAGE"
"""The variable with the path of a file: a command that measures only a part of itself writes there
that part's `wall_s` and `cpu_s`, as JSON."""


@dataclass(frozen=True)
class Contender:
    """A way to do the work: a command.

    Attributes:
        name: Its name in the table.
        command: The program and its arguments.
        prepare: A command that runs before it and is not measured.
    """

    name: str
    command: tuple[str, ...]
    prepare: tuple[str, ...] = ()


@dataclass
class Laps:
    """A contender's runs.

    Attributes:
        usages: The resources of each run.
        ratios: Each run's wall time as a multiple of the limit's in the same round.
        error: Why the runs ended early, if one failed.
    """

    usages: list[Usage] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    error: str | None = None

    def attempt(self, lap: Callable[[], Usage], limit_s: float) -> None:
        """Runs once more.

        Args:
            lap: Runs the command.
            limit_s: The limit's time to compare with.
        """
        try:
            usage = lap()
        except CommandFailed as error:
            self.error = str(error)
            return
        self.usages.append(usage)
        self.ratios.append(usage.wall_s / limit_s)


@dataclass(frozen=True)
class Result:
    """A contender's line: medians over its rounds.

    Attributes:
        name: The contender.
        rounds: The number of runs.
        wall_s: Seconds.
        rows_per_s: Rows a second.
        rows_per_cpu_s: Rows a second of the client's CPU time.
        cpu_s: Seconds of the client's CPU time.
        peak_mb: The largest peak of any round.
        ratio_to_limit: The median of the rounds' ratios of its wall time to the limit's.
        exact: Whether its output is correct, value by value; None for the limit.
        note: Why it is not correct, or would not be with other values.
    """

    name: str
    rounds: int
    wall_s: float
    rows_per_s: float
    rows_per_cpu_s: float
    cpu_s: float
    peak_mb: float
    ratio_to_limit: float
    exact: bool | None
    note: str = ""


@dataclass(frozen=True)
class Failure:
    """The line of a contender that failed."""

    name: str
    error: str


def run(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, timeout_s: float
) -> Usage:
    """Runs a command in a new process from the repository's root, and measures it.

    Args:
        command: The program and its arguments.
        environment: Environment variables in addition to those of this process.
        folder: The folder for its output and its report.
        timeout_s: The time limit.

    Raises:
        CommandFailed: The command failed, exceeded the time limit, or exhausted the memory.
    """
    report, log, own = folder / "report.json", folder / "log", folder / "own.json"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", str(_LAUNCHER), str(report), *command],
            env=os.environ | dict(environment) | {OWN_USAGE_VARIABLE: str(own)},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(process, timeout_s)
    finally:
        # The session belongs to the command: processes that it left end with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        raise CommandFailed(f"exit code {process.returncode}: {last_lines(log)}")
    measured = json.loads(report.read_text())
    return Usage(**measured | (json.loads(own.read_text()) if own.exists() else {}))


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_SECONDS)
            return
        if time.monotonic() > deadline:
            raise CommandFailed(f"ended after {timeout_s:.0f} s, its time for this size")
        if psutil.virtual_memory().available < _LEAST_MEMORY_BYTES:
            raise CommandFailed("ended before it used up the machine's memory")


def last_lines(log: Path) -> str:
    """Returns the end of a log as one line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-_LINES_OF_LOG:]) or "it printed nothing"


def race(
    limit: Contender,
    others: Sequence[Contender],
    lap: Callable[[Contender], Usage],
    *,
    rounds: int = 3,
    slow: float = 6.0,
) -> dict[str, Laps]:
    """Runs contenders in turns, so that a slow phase of the machine affects all of them.

    Args:
        limit: The contender that the others are compared with. It runs first in each round.
        others: The other contenders.
        lap: Runs a contender once.
        rounds: The number of rounds.
        slow: A contender that took this multiple of the limit's time does not run again.

    Returns:
        Each contender's runs by its name, the limit first.

    Raises:
        CommandFailed: The limit failed.
    """
    laps = {contender.name: Laps() for contender in (limit, *others)}
    for _ in range(rounds):
        of_limit = lap(limit)
        laps[limit.name].usages.append(of_limit)
        laps[limit.name].ratios.append(1.0)
        for contender in others:
            own = laps[contender.name]
            if own.error is None and max(own.ratios, default=0.0) <= slow:
                own.attempt(partial(lap, contender), of_limit.wall_s)
    return laps


def summary(
    name: str, laps: Laps, *, rows: int, exact: bool | None = None, note: str = ""
) -> Result | Failure:
    """Returns a contender's line.

    Args:
        name: The contender.
        laps: Its runs.
        rows: The number of rows of each run.
        exact: Whether its output is correct; None if it has none.
        note: A note on its output.
    """
    if laps.error is not None:
        return Failure(name, laps.error)
    wall = statistics.median(usage.wall_s for usage in laps.usages)
    cpu = statistics.median(usage.cpu_s for usage in laps.usages)
    return Result(
        name=name,
        rounds=len(laps.usages),
        wall_s=round(wall, 3),
        rows_per_s=round(rows / wall),
        rows_per_cpu_s=round(rows / cpu),
        cpu_s=round(cpu, 3),
        peak_mb=round(max(usage.peak_mb for usage in laps.usages)),
        ratio_to_limit=round(statistics.median(laps.ratios), 3),
        exact=exact,
        note=note,
    )


def results_table(results: Sequence[Result | Failure]) -> str:
    """Returns the table of contenders: the fastest first, failures last."""
    done = sorted(
        (line for line in results if isinstance(line, Result)),
        key=lambda line: line.ratio_to_limit,
    )
    failed = [line for line in results if isinstance(line, Failure)]
    rows = [
        (
            line.name,
            f"{line.ratio_to_limit:.2f}",
            f"{line.wall_s:.2f}",
            f"{line.rows_per_s:,.0f}",
            f"{line.cpu_s:.2f}",
            f"{line.rows_per_cpu_s:,.0f}",
            f"{line.peak_mb:.0f}",
            {None: "-", True: "yes", False: "no"}[line.exact] + (line.note and f": {line.note}"),
        )
        for line in done
    ]
    head = ("contender", "x limit", "wall s", "rows/s", "CPU s", "rows/CPU s", "peak MB", "exact")
    text = table(head, rows, texts=(0, len(head) - 1))
    return "\n".join([text, *(f"{line.name}: could not run: {line.error}" for line in failed)])


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, texts: Sequence[int] = (0,)
) -> str:
    """Returns a table of rows with a header. Columns of text are left-aligned."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in texts else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def json_line(benchmark: str, results: Sequence[Result | Failure], **facts: Any) -> str:
    """Returns a benchmark's results as one line of JSON, with a description of the machine."""
    return json.dumps(
        {
            "benchmark": benchmark,
            **facts,
            "results": [asdict(line) for line in results],
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "machine": {
                "system": f"{platform.system()} {platform.machine()}",
                "cpus": psutil.cpu_count(),
                "memory_mb": round(psutil.virtual_memory().total / 1e6),
            },
        },
        ensure_ascii=False,
    )


def inexact(results: Sequence[Result | Failure]) -> list[str]:
    """Returns what is wrong with the lines of ours; a benchmark without such a line is wrong."""
    ours = [line for line in results if line.name.startswith("ours")]
    return [
        f"{line.name}: {line.error if isinstance(line, Failure) else line.note or 'not exact'}"
        for line in ours
        if isinstance(line, Failure) or not line.exact
    ] or ([] if ours else ["no line of ours"])


def finish(benchmark: str, results: Sequence[Result | Failure], **facts: Any) -> None:
    """Prints a benchmark's results as one line of JSON.

    Raises:
        SystemExit: A line of ours failed or is not exact.
    """
    print(json_line(benchmark, results, **facts), flush=True)
    if problems := inexact(results):
        raise SystemExit(f"bench-{benchmark}: " + "; ".join(problems))


def versions(names: Sequence[str], environment: Path) -> dict[str, str]:
    """Returns the versions of packages in a virtual environment."""
    folders = [str(path) for path in environment.glob("lib/python*/site-packages")]
    found = {
        distribution.name.lower().replace("_", "-"): distribution.version
        for distribution in metadata.distributions(path=folders)
    }
    return {name: found[name] for name in names if name in found}


@contextlib.contextmanager
def ending_in_order() -> Iterator[None]:
    """Makes SIGTERM unwind the stack as Ctrl-C does, so that started processes are stopped."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
