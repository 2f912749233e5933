"""What all tests of the doctor share."""

import os

import pytest


@pytest.fixture(autouse=True)
def credentials_of_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of no account, no region, and no address of another cloud."""
    for name in ("AWS_DEFAULT_REGION", "AWS_PROFILE", *os.environ):
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, "")  # what a place sets is taken back
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
