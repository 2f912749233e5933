"""The functions' packages: small enough for Lambda, and complete."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
LIMIT = 262_144_000
"""Bytes of a function and its layers, unpacked (AWS Lambda Developer Guide, "Lambda quotas")."""
FUNCTIONS = {"IngestFunction": "ingest", "LoadFunction": "load", "PublishFunction": "publish"}
RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "urllib3", "six")
"""What Lambda's Python runtimes bring (AWS Lambda Developer Guide, "Runtime-included SDK")."""


GLUE = (*RUNTIME, "pyspark", "AWSGlueDataplanePython")
"""What a job's Python finds (AWS Glue Developer Guide, "Python modules already provided")."""


def _size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def _closure(names: tuple[str, ...]) -> Iterator[importlib.metadata.Distribution]:
    seen: set[str] = set()
    ahead = list(names)
    while ahead:
        name = canonicalize_name(ahead.pop())
        if name in seen:
            continue
        seen.add(name)
        distribution = importlib.metadata.distribution(name)
        yield distribution
        for text in distribution.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                ahead.append(requirement.name)


def _linked(folder: Path, names: tuple[str, ...]) -> Path:
    """Returns a folder from which the distributions import, and nothing else does."""
    folder.mkdir()
    for distribution in _closure(names):
        for file in distribution.files or ():
            top = Path(file.parts[0])
            target = folder / top
            if not file.parts[0].startswith("..") and not target.exists():
                target.symlink_to(str(distribution.locate_file(top)))
    return folder


@pytest.fixture(scope="module")
def arm_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages as `sam build` makes them for deployment."""
    folder = tmp_path_factory.mktemp("arm")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LAMBDA_")}
    subprocess.run(
        [ROOT / ".venv-sam" / "bin" / "sam", "build", "--parallel", "--build-dir", folder],
        cwd=ROOT,
        env=environment | {"SAM_CLI_TELEMETRY": "0"},
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def local_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same packages for this machine and this Python."""
    folder = tmp_path_factory.mktemp("local")
    machine = platform.machine()
    environment = {
        "LAMBDA_DEPENDENCIES": "bundled",
        "LAMBDA_PLATFORM": f"manylinux2014_{machine} manylinux_2_28_{machine}",
        "LAMBDA_PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}",
    }

    def build(function: str) -> None:
        (folder / function).mkdir()
        subprocess.run(
            ["make", f"build-{function}"],
            cwd=ROOT,
            env=os.environ | environment | {"ARTIFACTS_DIR": str(folder / function)},
            check=True,
            capture_output=True,
        )

    with ThreadPoolExecutor() as pool:
        list(pool.map(build, (*FUNCTIONS, "GlueCodeFunction")))
    return folder


def _run(code: str, path: list[Path], **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code with the folders and the standard library on sys.path, and nothing else."""
    return subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path += {[str(p) for p in path]!r}; {code}",
        ],
        env={"AWS_DEFAULT_REGION": "eu-west-2", "PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("function", [*FUNCTIONS, "GlueCodeFunction"])
def test_a_package_is_within_lambda_s_limit(arm_packages, function):
    assert 0 < _size(arm_packages / function) <= LIMIT


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_package_is_built_for_lambda_s_processor_and_python(arm_packages, function):
    extensions = {file.name for file in (arm_packages / function).rglob("*.cpython-*.so")}
    assert extensions
    assert all("cpython-313-aarch64-linux-gnu" in name for name in extensions)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_package_s_modules_need_not_be_compiled_when_a_process_starts(local_packages, function):
    # A function's own folder is read-only: byte code that the package lacks is never kept.
    package = local_packages / function
    modules = list(package.rglob("*.py"))
    tag = sys.implementation.cache_tag

    lacking = [
        module
        for module in modules
        if not (module.parent / "__pycache__" / f"{module.stem}.{tag}.pyc").exists()
    ]

    assert modules
    assert lacking == []
    code = (
        f"import importlib.util, lambdas.{FUNCTIONS[function]} as module\n"
        "content = open(importlib.util.cache_from_source(module.__file__), 'rb').read()\n"
        "print(int.from_bytes(content[4:8], 'little'))"
    )
    assert _run(code, [package]).stdout == "1\n", "a time stamp does not outlast a zip file"


def test_nothing_that_is_trimmed_is_in_a_package(arm_packages):
    patterns = (ROOT / "make" / "lambda-trim.txt").read_text().splitlines()
    for pattern in (line for line in patterns if not line.startswith("#")):
        assert not list(arm_packages.glob(f"*/{pattern}"))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_handler_imports_and_answers_from_its_package_alone(local_packages, tmp_path, function):
    name = FUNCTIONS[function]
    asked: dict[str, dict[str, object]] = {"load": {"sequence": 1}, "publish": {"execution": "e"}}
    request = {"run_id": "r", **asked.get(name, {})}
    path = [local_packages / function, _linked(tmp_path / "runtime", RUNTIME)]
    code = (
        f"from lambdas.{name}.handler import handler\n"
        "from types import SimpleNamespace as S\n"
        "context = S(function_name='f', memory_limit_in_mb=1, invoked_function_arn='a:b:c:d',"
        " aws_request_id='r', get_remaining_time_in_millis=lambda: 1000)\n"
        f"handler({request}, context)"
    )
    done = _run(code, path)
    assert "pipeline.errors.InvalidSettings: the environment variable" in done.stderr


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_package_has_the_declarations_of_the_star_tables(local_packages, function):
    code = "from star_schema.tables import star_tables; print(len(star_tables()))"
    done = _run(code, [local_packages / function])
    assert done.stdout == "11\n", done.stderr


def test_a_load_s_package_reads_parquet_with_zstd_by_itself(local_packages):
    code = (
        "import io, pyarrow as pa, pyarrow.parquet as pq, psycopg; from pyarrow import csv, fs\n"
        "held = io.BytesIO(); table = pa.table({'a': [1, 2]})\n"
        "pq.write_table(table, held, compression='zstd'); held.seek(0)\n"
        "assert pq.read_table(held).equals(table)\n"
        "print(psycopg.pq.__impl__, fs.S3FileSystem.__name__)"
    )
    done = _run(code, [local_packages / "LoadFunction"])
    assert done.stdout.split() == ["binary", "S3FileSystem"], done.stderr


def test_an_ingest_s_package_reads_a_source_and_writes_parquet_by_itself(
    local_packages, tmp_path, source_dsn
):
    code = (
        "import psycopg, pathlib; from psycopg import sql\n"
        "from lambdas.ingest.selection import Selection\n"
        "from lambdas.ingest.discovery import read_tables\n"
        "from lambdas.ingest.source_reader import SourceReader\n"
        "from pipeline.database import login_of\n"
        f"folder = pathlib.Path({str(tmp_path)!r}); dsn = {source_dsn!r}\n"
        "source = psycopg.connect(dsn, autocommit=True)\n"
        "source.execute('create table a (id integer, price numeric)')\n"
        "source.execute('insert into a values (1, 2.50)')\n"
        "source.execute('begin isolation level repeatable read')\n"
        "snapshot, = source.execute('select pg_export_snapshot()').fetchone()\n"
        "(table,) = read_tables(source)\n"
        "with SourceReader(login_of(source), snapshot, folder) as reader:\n"
        "    rows = Selection(table, table.columns, sql.SQL('true'))\n"
        "    print(reader.take(rows, folder / 'a', folder / 'b').rows)"
    )
    path = [local_packages / "IngestFunction", _linked(tmp_path / "runtime", RUNTIME)]
    done = _run(code, path)
    assert done.stdout == "1\n", done.stderr
    assert pq.read_table(tmp_path / "a").to_pylist() == [{"id": 1, "price": "2.50"}]


def test_the_glue_catalog_s_reader_imports_from_the_package_alone(local_packages, tmp_path):
    code = (
        "from pyiceberg.catalog.glue import GlueCatalog\n"
        "from pyiceberg.io.pyarrow import PyArrowFileIO\n"
        "import pyarrow.dataset, pyarrow.compute; print('read')"
    )
    path = [local_packages / "LoadFunction", _linked(tmp_path / "runtime", RUNTIME)]
    done = _run(code, path)
    assert done.stdout == "read\n", done.stderr


def test_the_glue_code_s_zip_and_what_glue_has_are_all_that_the_jobs_import(
    local_packages, tmp_path
):
    code = "from lambdas.glue_code.handler import zip_of; from pathlib import Path\n"
    archive = tmp_path / "code.zip"
    root = local_packages / "GlueCodeFunction"
    code += f"Path({str(archive)!r}).write_bytes(zip_of(Path({str(root)!r})))"
    made = _run(code, [root, _linked(tmp_path / "runtime", RUNTIME)])
    assert made.returncode == 0, made.stderr
    code = (
        "import glue_jobs.build.job; from star_schema.iso_4217 import currencies\n"
        "from star_schema.tables import star_tables; print(len(star_tables()), len(currencies()))"
    )
    done = _run(code, [archive, _linked(tmp_path / "glue", GLUE)])
    assert done.stdout == "11 178\n", done.stderr


def test_the_glue_code_s_zip_is_the_same_from_its_package_and_from_the_repository(
    local_packages, tmp_path
):
    code = (
        "import hashlib; from pathlib import Path; from lambdas.glue_code import handler as h\n"
        "print(hashlib.sha256(h.zip_of(Path(h.__file__).parents[2])).hexdigest())"
    )
    runtime = _linked(tmp_path / "runtime", RUNTIME)
    hashes = {
        _run(code, [root, runtime]).stdout for root in (local_packages / "GlueCodeFunction", ROOT)
    }
    assert len(hashes) == 1
    assert len(hashes.pop()) == 65
