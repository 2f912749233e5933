"""Histories of a business, its runs, builds and loads, and what they leave that is wrong."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from hypothesis import strategies as st

from glue_jobs.build.lake import LakeTable
from pipeline.errors import TableBuildFailed
from tests.integration.build.world import Business, Star, Warehouse

FIRST_NEW_KEY = 9001

PUT_PAYMENT = (
    "insert into payment (payment_id, transaction_id, counterparty_id, payment_amount, "
    "currency_id, payment_type_id, paid, payment_date, company_ac_number, "
    "counterparty_ac_number, created_at, last_updated) "
    "values (%s, 1, 1, %s, 1, 1, false, %s, 1, 1, '2024-01-01', '2024-01-01') "
    "on conflict (payment_id) do update set payment_amount = excluded.payment_amount, "
    "payment_date = excluded.payment_date, last_updated = excluded.last_updated"
)
"""A payment, new or changed in silence: what its last_updated says never moves."""
PUT_DESIGN = (
    "insert into design (design_id, design_name, file_location, file_name) "
    "values (%s, %s, '/usr', 'design.json') "
    "on conflict (design_id) do update set design_name = excluded.design_name"
)


class CrashError(Exception):
    """The end of a process, where a history has one."""


@dataclass(frozen=True)
class Build:
    """A build of all star tables.

    Attributes:
        crash_at: The commit, from 0, at which it crashes, if it does.
        is_committed: Whether that commit is made before the crash.
        is_rebuild: Whether everything is built again from raw.
        others: What other writers do to each table before: "nothing", "roll back" or "compact".
    """

    crash_at: int | None = None
    is_committed: bool = False
    is_rebuild: bool = False
    others: str = "nothing"


@dataclass(frozen=True)
class Day:
    """What happens between two runs, and after the run that ends it.

    Attributes:
        payments: What happens to each of some payments.
        designs: What happens to each of some designs: a new name, nothing, or its deletion.
        department: The first department's new name, if any.
        moved: The department that the first of the staff moves to, if so.
        builds: The builds that follow the day's run.
        load_crashes_at: The step, from 0, at which the load that follows crashes before it is
            repeated, if it does; there is none where the last build crashed.
    """

    payments: list[str]
    designs: list[str]
    department: str | None = None
    moved: int | None = None
    builds: tuple[Build, ...] = (Build(),)
    load_crashes_at: int | None = None


def histories() -> st.SearchStrategy[list[Day]]:
    """Returns histories of two or three days, with every kind of change, crash and repetition.

    Something is built before the last day: the simplest history of all is that of a first build.
    """
    payment = st.sampled_from(
        ["leave", "one", "two", "same", "touch", "renew", "malformed", "delete"]
    )
    design = st.sampled_from(["leave", "one", "two", "delete"])
    others = st.sampled_from(["nothing", "nothing", "roll back", "compact"])
    crash = st.builds(Build, crash_at=st.integers(0, 10), is_committed=st.booleans(), others=others)
    whole = st.builds(Build, is_rebuild=st.sampled_from([False, False, False, True]), others=others)
    builds = st.one_of(
        st.just(()),
        st.tuples(whole),
        st.tuples(crash),
        st.tuples(crash, whole),
    )
    day = st.builds(
        Day,
        payments=st.lists(payment, min_size=8, max_size=8),
        designs=st.lists(design, min_size=4, max_size=4),
        department=st.sampled_from([None, "one", "two"]),
        moved=st.sampled_from([None, 1, 2]),
        builds=builds,
        load_crashes_at=st.one_of(st.none(), st.integers(0, 12)),
    )
    days = st.lists(day, min_size=2, max_size=3)
    return days.filter(lambda history: any(one.builds for one in history))


def play(
    history: list[Day],
    business: Business,
    star: Star,
    warehouse: Warehouse | None,
    tables: Iterable[str],
) -> Iterator[str]:
    """Lives through a history, and gives each difference from the oracle as soon as it is there.

    A last day without changes has everything built and loaded that the days before left.

    Args:
        history: The days.
        business: A business of which no run has been captured yet.
        star: Its star schema, of which nothing is there.
        warehouse: The star schema's warehouse, empty; None to load nothing.
        tables: The star tables to build: all of them, where there is a warehouse.
    """
    for day in [*history, Day([], [])]:
        _live(business, day)
        business.run()
        is_whole = False
        for build in day.builds:
            is_whole = _build(star, build, tables)
            if is_whole:
                yield from star.differences(*tables)
        if not is_whole or warehouse is None:
            continue
        before = warehouse.rows()
        if day.load_crashes_at is not None and _crashes(warehouse, day.load_crashes_at):
            yield from () if warehouse.rows() == before else ("a load that crashed left rows",)
        warehouse.load(is_rebuild=day.builds[-1].is_rebuild)
        yield from warehouse.differences()


def _live(business: Business, day: Day) -> None:
    for key, action in enumerate(day.payments, FIRST_NEW_KEY):
        _change_payment(business, key, action)
    for key, action in enumerate(day.designs, FIRST_NEW_KEY):
        if action == "delete":
            business.execute("delete from design where design_id = %s", key)
        elif action != "leave":
            business.execute(PUT_DESIGN, key, action)
    if day.department:
        business.execute(
            "update department set department_name = %s where department_id = 1", day.department
        )
    if day.moved:
        business.execute("update staff set department_id = %s where staff_id = 1", day.moved)


def _change_payment(business: Business, key: int, action: str) -> None:
    if action in ("delete", "renew"):
        business.execute("delete from payment where payment_id = %s", key)
    if action in ("one", "renew"):
        business.execute(PUT_PAYMENT, key, 1, "2024-02-03")
    if action == "two":
        business.execute(PUT_PAYMENT, key, 2, "2024-02-03")
    if action == "malformed":
        business.execute(PUT_PAYMENT, key, 1, "soon")
    if action == "same":
        business.execute("update payment set paid = paid where payment_id = %s", key)
    if action == "touch":
        business.execute(
            "update payment set last_updated = current_timestamp where payment_id = %s", key
        )


def _build(star: Star, build: Build, tables: Iterable[str]) -> bool:
    """Builds, and returns whether that came to its end."""
    for table in tables if build.others != "nothing" else ():
        _disturb(star, table, build.others)
    try:
        with _crash_at_commit(build):
            star.build(*tables, rebuild=build.is_rebuild)
    except TableBuildFailed as error:
        if "CrashError" not in str(error):
            raise
        return False
    return True


def _disturb(star: Star, table: str, others: str) -> None:
    """Has another writer change a table that there is."""
    snapshots = star.snapshots(table) if star.rows(table) else []
    if others == "roll back" and len(snapshots) > 1:
        star.call("rollback_to_snapshot", table, str(snapshots[1]))
    if others == "compact" and snapshots:
        star.call("rewrite_data_files", table, "options => map('rewrite-all', 'true')")


@contextmanager
def _crash_at_commit(build: Build) -> Iterator[None]:
    """Has one of the lake's commits, and all that follow it, crash."""
    commits = itertools.count()

    def crashing(commit: Callable[..., int]) -> Callable[..., int]:
        def crash(*arguments: Any, **named: Any) -> int:
            number = next(commits)
            if build.crash_at is None or number < build.crash_at:
                return commit(*arguments, **named)
            if number == build.crash_at and build.is_committed:
                commit(*arguments, **named)
            raise CrashError

        return crash

    with (
        patch.object(LakeTable, "append", crashing(LakeTable.append)),
        patch.object(LakeTable, "merge", crashing(LakeTable.merge)),
        patch.object(LakeTable, "replace", crashing(LakeTable.replace)),
    ):
        yield


def _crashes(warehouse: Warehouse, step: int) -> bool:
    """Loads up to a step, and returns whether it came that far."""
    steps = itertools.count()

    def seconds_left() -> float:
        if next(steps) == step:
            raise CrashError
        return 600.0

    try:
        warehouse.load(seconds_left=seconds_left)
    except CrashError:
        return True
    return False
