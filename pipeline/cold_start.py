"""The start of a function's process: its imports."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Imports modules without garbage collection, then and later.

    Imports make some hundred thousand objects that last as long as the process. A collection finds
    none of them to be garbage, and takes longer the more there are (Python's documentation of
    `gc.freeze`).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
