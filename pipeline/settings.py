"""Settings of the deployment, read from the environment in one place."""

import os
from collections.abc import Mapping

from pipeline.errors import InvalidSettings


def required(name: str, environment: Mapping[str, str] | None = None) -> str:
    """Returns the environment variable `name`.

    Args:
        name: The variable, as template.yaml sets it.
        environment: Where to look; the process's own environment unless given.

    Raises:
        InvalidSettings: The variable is not set, or is empty.
    """
    value = (os.environ if environment is None else environment).get(name, "")
    if not value:
        raise InvalidSettings(
            f"the environment variable {name} is not set: template.yaml sets it for every function "
            "that needs it, so redeploy the stack"
        )
    return value
