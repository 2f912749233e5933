"""Starts the local cloud: `python -m local.cloud --port N --state DIR --jars DIR`."""

import argparse
import os
from importlib import metadata
from pathlib import Path
from typing import Final

import uvicorn

MINISTACK: Final = "1.5.33"
_KEEP_ALIVE_SECONDS: Final = 75
_SHUTDOWN_SECONDS: Final = 3
"""How long requests in progress may take after the signal to end."""


def main() -> None:
    """Patches MiniStack in this process, and serves until the process is stopped.

    Raises:
        SystemExit: The installed MiniStack is not the version that the patches are for.
    """
    parser = argparse.ArgumentParser(prog="python -m local.cloud")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--jars", type=Path, required=True)
    options = parser.parse_args()
    if metadata.version("ministack") != MINISTACK:
        raise SystemExit(f"the local cloud requires ministack {MINISTACK}: run `make setup`")
    state = options.state.resolve()
    for folder in ("state", "s3", "jobs"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(options.port),
        "MINISTACK_REGION": os.environ["AWS_DEFAULT_REGION"],
        "PERSIST_STATE": "1",
        "STATE_DIR": str(state / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(state / "s3"),
        "IOT_MTLS_ENABLED": "0",
    }
    # MiniStack reads its settings at import.
    from local.cloud import (  # noqa: PLC0415
        glue_catalog,
        glue_jobs,
        lambda_errors,
        recorder,
        roles,
        s3_listing,
        step_functions,
    )

    glue_jobs.patch(f"http://127.0.0.1:{options.port}", options.jars.absolute(), state / "jobs")
    glue_catalog.patch()
    lambda_errors.patch()
    step_functions.patch()
    roles.patch()
    s3_listing.patch()
    recorder.patch()

    from ministack.app import app  # noqa: PLC0415

    # Hypercorn, which MiniStack's own command serves by, takes half as much again for a request.
    uvicorn.run(
        app,
        port=options.port,
        http="httptools",
        loop="uvloop",
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )


if __name__ == "__main__":
    main()
