"""Ours in a process that begins as AWS Lambda begins one: from the package, with the handler."""

import importlib
import runpy

from benchmarks.absent import hide

if __name__ == "__main__":
    hide("pandas")
    importlib.import_module("lambdas.load.handler")
    runpy.run_module("benchmarks.load.contenders.ours", run_name="__main__")
