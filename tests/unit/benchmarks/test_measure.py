"""Benchmarks measure a command's own work, take turns, and tell it in a table and in JSON."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from benchmarks import measure
from benchmarks.measure import CommandFailed, Contender, Failure, Laps, Result, Usage
from tests.fixtures.waiting import wait_until

LIMIT = Contender("limit", ("limit",))
FAST = Contender("fast", ("fast",))
SLOW = Contender("slow", ("slow",))
MEGABYTES = 1_000_000


def run_python(code: str, folder: Path, timeout_s: float = 30.0, **variables: str) -> Usage:
    command = (sys.executable, "-I", "-S", "-c", code)
    return measure.run(command, environment=variables, folder=folder, timeout_s=timeout_s)


def taking(seconds: dict[str, float], ran: list[str]) -> Callable[[Contender], Usage]:
    def lap(contender: Contender) -> Usage:
        ran.append(contender.name)
        if contender.name not in seconds:
            raise CommandFailed("no such package")
        return Usage(wall_s=seconds[contender.name], cpu_s=1.0, peak_mb=10.0)

    return lap


def has_ended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def result(name: str, ratio: float, *, exact: bool | None = True, note: str = "") -> Result:
    return Result(name, 3, 2.0, 1_000_000, 500_000, 4.0, 120, ratio, exact, note)


def test_a_command_may_measure_a_part_of_itself(tmp_path: Path) -> None:
    code = (
        "import os, pathlib; "
        f"path = pathlib.Path(os.environ['{measure.OWN_USAGE_VARIABLE}']); "
        """path.write_text('{"wall_s": 0.25, "cpu_s": 0.125}')"""
    )

    usage = run_python(code, tmp_path)

    assert (usage.wall_s, usage.cpu_s) == (0.25, 0.125)
    assert usage.peak_mb > 0


def test_the_work_of_a_command_and_of_its_children_is_counted(tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {busy!r}])"

    usage = run_python(code, tmp_path)

    assert 0.3 <= usage.cpu_s <= usage.wall_s * 2


def test_a_peak_is_the_commands_own_however_much_this_process_holds(tmp_path: Path) -> None:
    held = bytearray(os.urandom(1)) * (150 * MEGABYTES)

    small = run_python("pass", tmp_path)
    large = run_python(f"bytes([1]) * {100 * MEGABYTES}", tmp_path)

    assert len(held) / MEGABYTES > small.peak_mb * 2
    assert 100 < large.peak_mb < 150


def test_a_command_finds_the_variables_it_is_given(tmp_path: Path) -> None:
    run_python("import os, sys; sys.exit(os.environ['ANSWER'] != '42')", tmp_path, ANSWER="42")


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"exit code 1: .*ModuleNotFoundError"):
        run_python("import no_such_package", tmp_path)


def test_a_command_that_is_killed_says_so(tmp_path: Path) -> None:
    code = f"import os; os.kill(os.getpid(), {signal.SIGKILL:d})"

    with pytest.raises(CommandFailed, match="exit code 137: it printed nothing"):
        run_python(code, tmp_path)


def test_a_program_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="FileNotFoundError"):
        measure.run(("./no-such-program",), environment={}, folder=tmp_path, timeout_s=30)


def test_a_command_is_ended_with_its_children_when_its_time_is_over(tmp_path: Path) -> None:
    sleep = "import time; time.sleep(60)"
    code = (
        "import subprocess, sys, pathlib\n"
        f"child = subprocess.Popen([sys.executable, '-c', {sleep!r}])\n"
        f"pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid))\n"
        "child.wait()"
    )

    with pytest.raises(CommandFailed, match="ended after 2 s"):
        run_python(code, tmp_path, timeout_s=2)

    child = int((tmp_path / "child").read_text())
    wait_until(lambda: has_ended(child))


def test_contenders_take_turns() -> None:
    ran: list[str] = []

    laps = measure.race(LIMIT, (FAST, SLOW), taking({"limit": 1, "fast": 2, "slow": 6}, ran))

    assert ran == ["limit", "fast", "slow"] * 3
    assert laps["fast"].ratios == [2.0] * 3
    assert list(laps) == ["limit", "fast", "slow"]


def test_who_takes_more_than_six_times_the_limit_runs_once() -> None:
    ran: list[str] = []

    laps = measure.race(LIMIT, (SLOW, FAST), taking({"limit": 1, "fast": 2, "slow": 6.1}, ran))

    assert ran == ["limit", "slow", "fast", "limit", "fast", "limit", "fast"]
    assert len(laps["slow"].usages) == 1


def test_who_cannot_run_does_not_stop_the_others() -> None:
    ran: list[str] = []

    laps = measure.race(LIMIT, (SLOW, FAST), taking({"limit": 1, "fast": 2}, ran))

    assert laps["slow"].error == "no such package"
    assert ran.count("slow") == 1
    assert len(laps["fast"].usages) == 3


def test_without_its_limit_there_is_no_race() -> None:
    with pytest.raises(CommandFailed):
        measure.race(LIMIT, (FAST,), taking({"fast": 2}, []))


def test_a_line_holds_medians_and_the_largest_peak() -> None:
    usages = [Usage(2.0, 4.0, 90.2), Usage(10.0, 5.0, 120.4), Usage(3.0, 1.0, 80.0)]
    laps = Laps(usages, ratios=[1.5, 4.0, 2.0])

    line = measure.summary("fast", laps, rows=3_000, exact=True, note="but slow")

    assert line == Result(
        name="fast",
        rounds=3,
        wall_s=3.0,
        rows_per_s=1_000,
        rows_per_cpu_s=750,
        cpu_s=4.0,
        peak_mb=120,
        ratio_to_limit=2.0,
        exact=True,
        note="but slow",
    )


def test_a_contender_that_failed_in_any_round_has_no_figures() -> None:
    laps = Laps([Usage(2.0, 4.0, 90.0)], [1.5], error="exit code 1")

    assert measure.summary("fast", laps, rows=1) == Failure("fast", "exit code 1")


def test_the_table_begins_with_the_fastest_and_ends_with_those_that_failed() -> None:
    text = measure.results_table(
        [
            Failure("broken", "exit code 1: no driver"),
            result("slow", 4.0, exact=False, note="price is double"),
            result("limit", 1.0, exact=None),
        ]
    )

    assert text.splitlines() == [
        "contender  x limit  wall s     rows/s  CPU s  rows/CPU s  peak MB  exact",
        "limit         1.00    2.00  1,000,000   4.00     500,000      120  -",
        "slow          4.00    2.00  1,000,000   4.00     500,000      120  no: price is double",
        "broken: could not run: exit code 1: no driver",
    ]


def test_the_outcome_is_one_line_of_json() -> None:
    line = measure.json_line("ingest", [result("ours", 1.5), Failure("broken", "why")], rows=7)

    outcome = json.loads(line)
    assert "\n" not in line
    assert (outcome["benchmark"], outcome["rows"]) == ("ingest", 7)
    assert outcome["results"][0]["ratio_to_limit"] == 1.5
    assert outcome["results"][1] == {"name": "broken", "error": "why"}
    assert outcome["machine"]["cpus"] > 0


@pytest.mark.parametrize(
    ("lines", "problems"),
    [
        ([("limit: psql", None), ("ours (first build)", True), ("a peer", False)], []),
        ([("limit: psql", None)], ["no line of ours"]),
        ([("ours (rebuild)", False)], ["ours (rebuild): not exact"]),
        ([("ours (rebuild)", None)], ["ours (rebuild): not exact"]),
    ],
)
def test_a_benchmark_fails_unless_every_line_of_ours_is_exact(
    lines: list[tuple[str, bool | None]], problems: list[str]
) -> None:
    assert measure.inexact([result(name, 1.0, exact=exact) for name, exact in lines]) == problems


def test_a_benchmark_says_what_failed_after_its_results(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines: list[Result | Failure] = [
        result("ours (1 reader)", 1.0, exact=True),
        result("ours (2 readers)", 1.0, exact=False, note="price is double"),
        Failure("ours (incremental)", "exit code 1"),
    ]
    with pytest.raises(SystemExit) as error:
        measure.finish("ingest", lines, rows=7)

    assert len(json.loads(capsys.readouterr().out)["results"]) == 3
    assert str(error.value) == (
        "bench-ingest: ours (2 readers): price is double; ours (incremental): exit code 1"
    )


def test_versions_are_those_of_the_environment_that_is_asked() -> None:
    found = measure.versions(("psutil", "no-such-package"), Path(sys.prefix))

    assert found == {"psutil": psutil.__version__}


def test_a_request_to_end_unwinds_like_an_interruption() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt), measure.ending_in_order():
        signal.raise_signal(signal.SIGTERM)

    assert signal.getsignal(signal.SIGTERM) == before
