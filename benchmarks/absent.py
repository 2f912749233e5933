"""Packages that a function's own package lacks, and this environment has."""

import sys
from importlib.abc import MetaPathFinder


class _Absent(MetaPathFinder):
    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(self, fullname: str, *_: object) -> None:
        """Refuses the packages, and leaves others to other finders."""
        if fullname in self._names:
            raise ModuleNotFoundError(name=fullname)


def hide(*packages: str) -> None:
    """Hides packages: Arrow and DuckDB import what is installed."""
    sys.meta_path.insert(0, _Absent(frozenset(packages)))
