"""A Spark home with the jars that a job may need: a JVM opens every jar of its class path.

PySpark also brings Spark's other parts and what they depend on: machine learning, graphs, cluster
managers, Hive, Spark Connect, the shell, and native libraries for other systems. No job uses them.
"""

import contextlib
import hashlib
import importlib.util
import shutil
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

_LEFT_OUT: Final = (
    # machine learning and graphs
    *("spark-mllib*", "spark-graphx_*", "breeze*", "spire*", "algebra_*", "cats-kernel_*"),
    *("arpack*", "lapack-*", "blas-*", "JTransforms-*", "JLargeArrays-*"),
    # cluster managers
    *("spark-kubernetes_*", "spark-yarn_*", "kubernetes-*", "vertx-*", "zjsonpatch-*"),
    *("curator-*", "zookeeper-*"),
    # Hive: the catalogue is AWS Glue's
    *("spark-hive*", "hive-[bcejm]*", "hive-se*", "hive-shims*", "datanucleus-*", "derby*"),
    *("HikariCP-*", "javax.jdo-*", "jdo-api-*", "libfb303-*", "libthrift-*", "ST4-*", "antlr-r*"),
    *("commons-dbcp-*", "commons-pool-*", "javolution-*", "joda-time-*", "jpam-*", "json-1.*"),
    *("jta-*", "opencsv-*", "oro-*", "super-csv-*", "transaction-api-*"),
    # Spark Connect, declarative pipelines and the shell
    *("spark-connect_*", "spark-pipelines_*", "spark-repl_*", "scala-compiler-*", "jline-*"),
    # native libraries for protocols that nothing speaks
    *("netty-codec-native-*", "netty-tcnative-boringssl-*"),
    *("netty-transport-native-kqueue-*", "netty-transport-native-io_uring-*"),
)


def spark_home(jars: Path) -> Path:
    """Returns the folder to be SPARK_HOME; makes it, of links, where it does not exist.

    Args:
        jars: The folder of the jars that AWS Glue adds. The Spark home is beside it.
    """
    spec = importlib.util.find_spec("pyspark")
    assert spec is not None  # noqa: S101 - it is a requirement  # nosec B101
    assert spec.origin is not None  # noqa: S101  # nosec B101
    init = Path(spec.origin)
    seen = repr((str(init), init.stat().st_mtime_ns, _LEFT_OUT))
    home = jars.with_name(f"spark-home-{hashlib.sha256(seen.encode()).hexdigest()[:12]}")
    if not home.exists():
        _make(home, init.parent)
    return home


def _make(home: Path, spark: Path) -> None:
    made = Path(tempfile.mkdtemp(dir=home.parent, prefix=f"{home.name}-"))
    (made / "bin").symlink_to(spark / "bin")
    (made / "python").symlink_to(spark / "python")
    (made / "jars").mkdir()
    for jar in (spark / "jars").glob("*.jar"):
        if not any(fnmatch(jar.name, pattern) for pattern in _LEFT_OUT):
            (made / "jars" / jar.name).symlink_to(jar)
    with contextlib.suppress(OSError):  # another process has made it
        made.rename(home)
    shutil.rmtree(made, ignore_errors=True)
