"""What the stacks of the network and of the warehouse hand to the pipeline's stack.

Their outputs have the names of its parameters: `make deploy PARAMS="$(make -s parameters) …"`.
"""

import argparse
import sys

from botocore.exceptions import BotoCoreError, ClientError

from deployment.target import Target, target

STACKS = ("network", "warehouse")
"""The templates beside the pipeline's, and what their stacks' names end with."""


def handed_over(where: Target) -> dict[str, str]:
    """Returns the outputs of the stacks that exist beside a pipeline's."""
    client = where.client("cloudformation")
    found: dict[str, str] = {}
    for name in STACKS:
        try:
            (stack,) = client.describe_stacks(StackName=f"{where.stack}-{name}")["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            continue
        found |= {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])}
    return found


def main(arguments: list[str]) -> int:
    """Prints the outputs as `sam deploy` takes parameters, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deployment.parameters")
    parser.add_argument("--config-env", required=True)
    options = parser.parse_args(arguments)
    try:
        found = handed_over(target(options.config_env))
    except (BotoCoreError, ClientError) as error:
        sys.stderr.write(f"The stacks beside the pipeline's are not known: {error}\n")
        return 1
    sys.stdout.write(" ".join(f"{name}={value}" for name, value in found.items()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
