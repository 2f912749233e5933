"""Settings come from the environment, and a missing one says what to do."""

import pytest

from pipeline.errors import InvalidSettings
from pipeline.settings import required


def test_a_setting_is_the_environment_variable_of_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAW_BUCKET", "raw")

    assert required("RAW_BUCKET") == "raw"


def test_a_setting_can_be_looked_up_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAW_BUCKET", "raw")

    assert required("RAW_BUCKET", {"RAW_BUCKET": "given"}) == "given"


@pytest.mark.parametrize("environment", [{}, {"RAW_BUCKET": ""}])
def test_a_missing_or_empty_setting_is_refused_by_name(environment: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings, match="RAW_BUCKET is not set"):
        required("RAW_BUCKET", environment)
