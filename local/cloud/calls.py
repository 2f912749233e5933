"""The calls that the roles of the stack make, as policies see them."""

import json
from dataclasses import asdict, dataclass
from typing import Final

RECORDED_CALLS: Final = "RECORDED_CALLS"
"""The environment variable that names the file of calls. None is recorded without it."""


@dataclass(frozen=True)
class Call:
    """A call.

    Attributes:
        role: The role's name in the template.
        action: The action, as policies name it.
        resource: The resource's ARN, with names of the template as in `Fn::Sub`. Numbers and
            identifiers are 0.
        context: The condition keys of the service and their values.
    """

    role: str
    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()

    def as_line(self) -> str:
        """Returns the call as a line of JSON."""
        return json.dumps(asdict(self) | {"context": dict(self.context)}) + "\n"

    @classmethod
    def from_line(cls, line: str) -> "Call":
        """Returns the call of a line of JSON."""
        fields = json.loads(line)
        return cls(**fields | {"context": tuple(fields["context"].items())})
