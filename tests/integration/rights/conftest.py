"""What the tests of the rights share."""

import pytest

from tests.rights.deployed import EVERYTHING, DeployedTemplate


@pytest.fixture(scope="session")
def template() -> DeployedTemplate:
    """The template, deployed with every option."""
    return DeployedTemplate(EVERYTHING)
