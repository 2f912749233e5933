"""A job's Spark home has Spark's jars without those of parts that no job uses."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyspark

from local.cloud.spark_home import spark_home

JARS = Path(pyspark.__file__).parent / "jars"


def names(home: Path) -> set[str]:
    return {jar.name for jar in (home / "jars").iterdir()}


def test_the_home_has_spark_and_not_the_parts_that_no_job_uses(tmp_path: Path) -> None:
    home = spark_home(tmp_path / "spark jars")

    assert (home / "bin" / "spark-submit").exists()
    assert all(jar.exists() for jar in (home / "jars").iterdir())
    left_out = {jar.name for jar in JARS.glob("*.jar")} - names(home)
    assert {"spark-mllib", "spark-hive", "spark-kubernetes", "spark-connect"} <= {
        name.split("_")[0] for name in left_out
    }
    kept = {name.split("_")[0] for name in names(home)}
    assert {"spark-core", "spark-sql", "spark-catalyst", "spark-launcher"} <= kept
    assert any(name.startswith("hive-storage-api-") for name in names(home))


def test_the_home_is_made_once_however_many_make_it_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        homes = set(pool.map(lambda _: spark_home(tmp_path / "spark jars"), range(8)))

    (home,) = homes
    assert [path.name for path in tmp_path.iterdir()] == [home.name]
    assert "spark-core" in {name.split("_")[0] for name in names(home)}
