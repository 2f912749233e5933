"""Prints `--guided` if an environment's stack is not deployed: sam then asks for its parameters.

The stack keeps the parameters that a later deployment does not name.
"""

import argparse
import sys

from botocore.exceptions import BotoCoreError, ClientError

from deployment.target import is_deployed, target


def main(arguments: list[str]) -> int:
    """Prints the option, if any, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deployment.guided")
    parser.add_argument("--config-env", required=True)
    options = parser.parse_args(arguments)
    try:
        deployed = is_deployed(target(options.config_env))
    except (BotoCoreError, ClientError) as error:
        sys.stderr.write(f"Whether the stack is deployed is not known: {error}\n")
        return 1
    if not deployed:
        sys.stdout.write("--guided\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
