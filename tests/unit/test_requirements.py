"""What is installed is pinned by hashes, and no committed file has the address of a registry."""

import json

import pytest

from local.deployment import ROOT

PINNED = sorted((ROOT / "requirements").glob("*.txt"))
LOCK = ROOT / "requirements" / "npm" / "package-lock.json"


@pytest.mark.parametrize("file", PINNED, ids=lambda file: file.name)
def test_each_package_of_pypi_has_a_version_and_hashes(file):
    packages = file.read_text().replace("\\\n", " ").splitlines()

    assert packages
    assert [one for one in packages if "==" not in one or "--hash=sha256:" not in one] == []


def test_each_package_of_npm_has_a_version_and_a_hash():
    packages = json.loads(LOCK.read_text())["packages"]
    declared = packages.pop("")

    assert (
        declared["dependencies"].items()
        <= {
            name.removeprefix("node_modules/"): package["version"]
            for name, package in packages.items()
        }.items()
    )
    assert [
        name for name, one in packages.items() if not one["integrity"].startswith("sha512-")
    ] == []


@pytest.mark.parametrize("file", [*PINNED, LOCK], ids=lambda file: file.name)
def test_no_file_of_pins_has_an_address(file):
    assert "://" not in file.read_text()
