"""docs/rights.md says what each role of the template may do."""

import re

import pytest

from local.deployment import ROOT
from tests.unit.template.resources import as_list, role_statements

_ACTION = re.compile(r"`([a-z0-9]+:[A-Z]\w+)`")
SECTIONS = dict(
    re.findall(
        r"^## (\w+Role)\n(.*?)(?=^## )",
        (ROOT / "docs/rights.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
)


def test_every_role_has_a_section():
    assert SECTIONS.keys() == role_statements().keys()


@pytest.mark.parametrize("role", role_statements())
def test_a_section_has_the_actions_of_the_role(role):
    granted = {
        action for statement in role_statements()[role] for action in as_list(statement["Action"])
    }

    assert set(_ACTION.findall(SECTIONS[role])) == granted
