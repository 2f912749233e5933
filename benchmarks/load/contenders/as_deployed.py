"""Ours without pandas, as in the function's package: Arrow imports pandas if it is installed."""

import runpy
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _WithoutPandas(MetaPathFinder):
    """Finds no pandas."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Refuses one name, and passes all others to the next finder."""
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname, name=fullname)
        return None


if __name__ == "__main__":
    sys.meta_path.insert(0, _WithoutPandas())
    runpy.run_module("benchmarks.load.contenders.ours", run_name="__main__")
