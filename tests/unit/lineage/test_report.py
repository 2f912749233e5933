"""The page of a run on this machine."""

import stat
import sys
from pathlib import Path

import boto3
import pytest

from lineage import report
from lineage.places import Places
from pipeline.errors import ObjectMissing


@pytest.fixture
def stack(moto_bucket: str) -> Places:
    return Places(boto3.Session(), {"ArtifactsBucket": moto_bucket}, {})


def put_page(stack: Places, run_id: str) -> None:
    stack.session.client("s3").put_object(
        Bucket=stack.outputs["ArtifactsBucket"], Key=f"runs/{run_id}.html", Body=run_id.encode()
    )


def test_the_page_of_a_run_or_else_the_newest_is_written_to_a_file(
    stack: Places, tmp_path: Path
) -> None:
    put_page(stack, "run-1")
    put_page(stack, "../run-2 ü")

    assert report.fetch(stack, "run-1", tmp_path / "new").read_text() == "run-1"
    file = report.fetch(stack, "../run-2 ü", tmp_path)
    assert file == tmp_path / ".._run-2__.html"
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700, "it has rows"
    assert report.fetch(stack, "", tmp_path).exists()


def test_a_page_that_is_not_there_is_named(stack: Places, tmp_path: Path) -> None:
    with pytest.raises(ObjectMissing, match="no run has left a page"):
        report.fetch(stack, "", tmp_path)
    with pytest.raises(ObjectMissing, match=r"runs/none\.html"):
        report.fetch(stack, "none", tmp_path)


@pytest.mark.parametrize("display", ["", ":0"])
def test_the_command_prints_the_file_and_opens_it_only_where_there_is_a_display(
    stack: Places,
    tmp_path: Path,
    display: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put_page(stack, "run-1")
    opened: list[str] = []
    monkeypatch.setattr(report, "places", lambda environment: stack)
    monkeypatch.setattr(report, "STATE", tmp_path)
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "argv", ["report"])
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", display)

    assert report.main() == 0

    file = tmp_path / "reports" / "run-1.html"
    assert capsys.readouterr().out == f"{file}\n"
    assert opened == ([file.as_uri()] if display else [])
    monkeypatch.setattr(sys, "argv", ["report", "--run", "none"])
    assert report.main() == 1
