"""What a person gives to `make`, and what the shell has, reach the commands as they should."""

import os
import shlex
import subprocess

import pytest

from local.deployment import ROOT

AWKWARD = [
    "postgresql://reader:pa$word@db/totesys",
    "postgresql://reader:p$(a@db/totesys",
    """{"full_refresh": ["it's"]}""",
    "two  words",
    '`date` \\ # "$HOME"',
]


def made(*arguments: str, **shell: str) -> list[str]:
    """Returns the last line of what `make` prints, as words of the shell."""
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env=environment | shell,
        capture_output=True,
        text=True,
        check=True,
    )
    return shlex.split(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("text", AWKWARD)
@pytest.mark.parametrize(
    ("target", "variable"),
    [
        *(("run", "SOURCE_DSN"), ("execute", "INPUT"), ("trace", "KEY"), ("dashboard", "DSN")),
        *(("certify", "FILE"), ("report", "RUN"), ("dashboard", "SECRET")),
    ],
)
def test_a_command_gets_what_was_given(target, variable, text):
    given = text.replace("#", "")  # begins a comment
    assert given in made("--dry-run", target, f"{variable}={given}")
    assert given in made("--dry-run", target, **{variable: given})


def test_an_execution_without_an_input_gets_an_empty_one():
    assert made("--dry-run", "execute")[-2:] == ["--input", "{}"]


@pytest.mark.parametrize(
    "name",
    [
        *("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONHOME", "PYTHONOPTIMIZE", "PYTEST_ADDOPTS"),
        *("SPARK_HOME", "SPARK_CONF_DIR", "HADOOP_CONF_DIR", "PYSPARK_SUBMIT_ARGS"),
        *("PIP_USER", "PIP_TARGET", "PIP_DRY_RUN", "PIP_PYTHON"),
    ],
)
def test_a_variable_for_other_programs_does_not_reach_the_commands(name):
    show = ["--eval", f'show: ; @echo "<$${{{name}-}}>"', "show"]
    assert made(*show, **{name: "of others"}) == ["<>"]
