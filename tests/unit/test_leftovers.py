"""What a killed test process started is ended, and its folders are removed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from local.deployment import ROOT
from tests.fixtures.waiting import wait_until

_CODE = """
import subprocess, sys, time
from tests.fixtures.leftovers import watched_folder

with watched_folder("killed d'été ") as folder, watched_folder("ended ") as other:
    server = [sys.executable, "-c", "import time; time.sleep(600)", str(folder / "data")]
    print(folder, subprocess.Popen(server, start_new_session=True).pid, sep="\\n", flush=True)
    time.sleep(600)
"""


def test_servers_and_folders_of_a_killed_process_do_not_outlive_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _CODE], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stdout
        folder, server = Path(tests.stdout.readline().strip()), int(tests.stdout.readline())
        assert folder.is_dir()
        os.kill(tests.pid, signal.SIGKILL)

    wait_until(lambda: not folder.exists() and not psutil.pid_exists(server))
