"""The temporary folder of a benchmark."""

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
    """Yields an empty folder, and removes it in any case, also after Ctrl-C.

    Raises:
        SystemExit: The benchmark was interrupted or could not run. The message says which.
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
