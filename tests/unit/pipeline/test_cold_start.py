"""The start of a function's process."""

import ast
import gc
import sys
from collections.abc import Iterator

import pytest

from local.deployment import ROOT
from pipeline.cold_start import uncollected


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The garbage collector, as it was before the test."""
    yield
    gc.unfreeze()
    gc.enable()


def test_imports_run_without_collections_and_no_later_collection_walks_their_objects() -> None:
    before = gc.get_freeze_count()

    with uncollected():
        assert not gc.isenabled()
        made = [[]]  # type: ignore[var-annotated]

    assert gc.isenabled()
    assert gc.get_freeze_count() > before
    assert not any(one is made for one in gc.get_objects())


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()

    with uncollected():
        pass

    assert not gc.isenabled()


@pytest.mark.parametrize("function", ["ingest", "load", "publish"])
def test_a_function_imports_all_packages_without_collections(function: str) -> None:
    tree = ast.parse((ROOT / "lambdas" / function / "handler.py").read_text())
    names = {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
    names |= {one.name for node in tree.body if isinstance(node, ast.Import) for one in node.names}

    others = {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}

    assert others == {"pipeline.cold_start"}
