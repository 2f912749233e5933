"""The start of a function's process: what is read once, and lasts as long as the process."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Imports modules or reads data without garbage collection, then and later.

    Imports make some hundred thousand objects that last as long as the process. A collection finds
    none of them to be garbage, and takes longer the more there are (Python's documentation of
    `gc.freeze`). Whatever garbage there is at the end lasts as long: it is for what happens once.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
