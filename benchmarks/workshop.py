"""Where a benchmark works: a folder of its own, of which nothing is left at the end."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks import measure
from benchmarks.measure import CommandFailed
from local.postgres import PostgresError

_STATE: Final = measure.ROOT / ".local"


@contextmanager
def workshop(benchmark: str) -> Iterator[Path]:
    """Gives an empty folder, and removes it at the end, also after Ctrl-C.

    Raises:
        SystemExit: The benchmark was interrupted, or could not run; the message says which.
    """
    _STATE.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"benchmark-{benchmark}-", dir=_STATE))
    with measure.ending_in_order():
        try:
            yield folder
        except KeyboardInterrupt:
            sys.exit("interrupted: what was started has been stopped and removed")
        except (CommandFailed, PostgresError, RuntimeError) as error:  # the last: no local cloud
            sys.exit(f"the benchmark could not run: {error}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
